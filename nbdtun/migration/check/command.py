"""The control channel's command for a check at the destination; see :mod:`nbdtun.migration.control.commands`."""

from __future__ import annotations

from typing import ClassVar

from nbdtun.amp import CheckedCommand, Number
from nbdtun.migration.control.commands import ERRORS, WANTED
from nbdtun.migration.control.rows import FINDINGS, SPACES
from nbdtun.versions import AGREED


class Check(CheckedCommand):
    """
    Check whether ``vm`` could come here, and change nothing.

    The arguments are those of :class:`~nbdtun.migration.control.commands.Prepare`, without a session. ``findings`` are the results,
    ``time`` is the destination's time of day in microseconds since the epoch. ``spaces`` is the disk space that is needed there.
    """

    arguments: ClassVar = [*WANTED]
    response: ClassVar = [*AGREED, (b"findings", FINDINGS), (b"time", Number()), (b"spaces", SPACES)]
    errors = ERRORS
