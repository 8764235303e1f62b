"""The command of the control channel with which a source has its counterpart looked at; see :mod:`nbdtun.migration.control.commands`."""

from __future__ import annotations

from typing import ClassVar

from nbdtun.amp import CheckedCommand, Number
from nbdtun.migration.control.commands import ERRORS, WANTED
from nbdtun.migration.control.rows import FINDINGS


class Check(CheckedCommand):
    """
    Look whether ``vm`` could come here, and change nothing.

    The arguments are those of :class:`~nbdtun.migration.control.commands.Prepare`, without a session. ``findings`` is what was found,
    ``time`` the destination's time of day in microseconds since the epoch.
    """

    arguments: ClassVar = [*WANTED]
    response: ClassVar = [(b"findings", FINDINGS), (b"time", Number())]
    errors = ERRORS
