"""Lists on the control channel: disks, findings and names as rows, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbdtun.amp import Rows, Text
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.disks import MAX_DISKS, Disk

MAX_FINDINGS = MAX_DISKS + 32
#: Bounds of a finding's texts, so that MAX_FINDINGS of them fit into one AMP value of 65,535 bytes.
MAX_WHAT, MAX_REMEDY, MAX_NAME = 380, 140, 64

FINDINGS = Rows(
    [
        *((name, Text()) for name in (b"level", b"check", b"code")),
        *((b"what", Text(MAX_WHAT)), (b"remedy", Text(MAX_REMEDY)), (b"name", Text(MAX_NAME))),
    ],
    MAX_FINDINGS,
)
_DISK = ("node", "device", "qdev", "size", "format", "place", "serial", "image")


def rows_of_disks(disks: Iterable[Disk]) -> list[dict[str, Any]]:
    """Disks as rows for the wire."""
    return [{name: getattr(disk, name) for name in _DISK} for disk in disks]


def disks_of(rows: list[dict[str, Any]]) -> tuple[Disk, ...]:
    """The reverse of :func:`rows_of_disks`."""
    return tuple(Disk(**{name: row[name] for name in _DISK}) for row in rows)


def rows_of_findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as rows for the wire; if there are too many, the least serious are left out."""
    every = list(findings)
    if len(every) > MAX_FINDINGS:
        order = list(reversed(Level))
        every = sorted(every, key=lambda finding: order.index(finding.level))[:MAX_FINDINGS]
    return [{"level": f.level.value, "check": f.check, "what": f.what, "remedy": f.remedy, "code": f.code, "name": f.name} for f in every]


def findings_of(rows: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """The reverse of :func:`rows_of_findings`; a level of a later version becomes a warning."""
    levels = {level.value: level for level in Level}
    return tuple(Finding(levels.get(r["level"], Level.WARNING), r["check"], r["what"], r["remedy"], r["code"], r["name"]) for r in rows)
