"""The command of the control channel with which a source has its counterpart looked at; see :mod:`nbdtun.migration.control.commands`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from nbdtun.amp import CheckedCommand, Number, Rows, Text
from nbdtun.migration.check.finding import Finding, Level
from nbdtun.migration.control.commands import ERRORS
from nbdtun.migration.vm.disks import MAX_DISKS

MAX_FINDINGS = MAX_DISKS + 32
#: Bounds of a finding's texts, so that as many as are allowed fit into one AMP value of 65,535 bytes.
MAX_WHAT, MAX_REMEDY = 400, 160

_DISK = ((b"node", Text()), (b"device", Text()), (b"qdev", Text()), (b"size", Number()), (b"format", Text()))
_FINDING = ((b"level", Text()), (b"check", Text()), (b"what", Text(MAX_WHAT)), (b"remedy", Text(MAX_REMEDY)), (b"code", Text()))


class Check(CheckedCommand):
    """
    Look whether ``vm`` could come here, and change nothing.

    The arguments are those of :class:`~nbdtun.migration.control.commands.Prepare`, without a session, and with the disks' formats.
    ``findings`` is what was found, ``time`` the destination's time of day in microseconds since the epoch.
    """

    arguments: ClassVar = [
        (b"version", Number(65535)),
        (b"vm", Text()),
        (b"machine", Text()),
        (b"memory", Number()),
        (b"disks", Rows(_DISK, MAX_DISKS)),
    ]
    response: ClassVar = [(b"findings", Rows(_FINDING, MAX_FINDINGS)), (b"time", Number())]
    errors = ERRORS


def rows_of(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as :class:`Check` carries them; no more than it can carry."""
    rows = [{"level": f.level.value, "check": f.check, "what": f.what, "remedy": f.remedy, "code": f.code} for f in findings]
    return rows[:MAX_FINDINGS]


def findings_of(rows: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """The reverse of :func:`rows_of`; a level of a later version is a warning."""
    levels = {level.value: level for level in Level}
    return tuple(Finding(levels.get(r["level"], Level.WARNING), r["check"], r["what"], r["remedy"], r["code"]) for r in rows)
