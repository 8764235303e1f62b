"""Lists on the control channel: disks, bitmaps, findings and names as rows, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbdtun.amp import Flag, Number, Refused, Rows, Text
from nbdtun.migration.capacity import Space
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.bitmaps import MAX_BITMAPS, Passenger
from nbdtun.migration.vm.disks import MAX_DISKS, Disk

MAX_FINDINGS = MAX_DISKS + 32
#: Characters of a finding's texts.
MAX_WHAT, MAX_REMEDY, MAX_NAME = 380, 140, 64
#: Of the name of a file system.
MAX_SYSTEM = 64

#: Bytes of all findings together, in one AMP value.
MAX_BYTES = 65_535


class BitmapRows(Rows):
    """Bitmaps, each once."""

    def fromStringProto(self, data: bytes, proto: Any) -> list[dict[str, Any]]:
        rows = super().fromStringProto(data, proto)
        if len({(row["disk"], row["name"]) for row in rows}) < len(rows):
            raise Refused("a bitmap twice")
        return rows


FINDINGS = Rows(
    [
        *((name, Text()) for name in (b"level", b"check", b"code")),
        *((b"what", Text(MAX_WHAT)), (b"remedy", Text(MAX_REMEDY)), (b"name", Text(MAX_NAME))),
    ],
    MAX_FINDINGS,
)
BITMAPS = BitmapRows([(b"disk", Number(MAX_DISKS - 1)), (b"name", Text()), (b"persistent", Flag())], MAX_BITMAPS)
SPACES = Rows(
    [(b"system", Text(MAX_SYSTEM)), (b"place", Text()), (b"needed", Number()), (b"free", Number())],
    MAX_DISKS,
    optional=True,
)
_DISK = ("node", "device", "qdev", "size", "format", "place", "serial", "image", "cache")


def rows_of_disks(disks: Iterable[Disk]) -> list[dict[str, Any]]:
    """Disks as rows for the wire."""
    return [{**{name: getattr(disk, name) for name in _DISK}, "allocated": disk.allocated} for disk in disks]


def disks_of(rows: list[dict[str, Any]]) -> tuple[Disk, ...]:
    """The reverse of :func:`rows_of_disks`."""
    return tuple(Disk(**{name: row[name] for name in _DISK}, allocated=row["allocated"] or 0) for row in rows)


def rows_of_spaces(spaces: Iterable[Space]) -> list[dict[str, Any]]:
    """Disk space as rows for the wire."""
    return [{"system": one.system, "place": one.place, "needed": one.needed, "free": one.free} for one in spaces]


def spaces_of(rows: list[dict[str, Any]] | None) -> tuple[Space, ...]:
    """The reverse of :func:`rows_of_spaces`; nothing from an end that does not tell."""
    return tuple(Space(**{name: row[name] for name in ("system", "place", "needed", "free")}) for row in rows or ())


def rows_of_bitmaps(bitmaps: Iterable[Passenger]) -> list[dict[str, Any]]:
    """Bitmaps as rows for the wire."""
    return [{"disk": one.disk, "name": one.name, "persistent": one.persistent} for one in bitmaps]


def bitmaps_of(rows: list[dict[str, Any]]) -> tuple[Passenger, ...]:
    """The reverse of :func:`rows_of_bitmaps`."""
    return tuple(Passenger(row["disk"], row["name"], row["persistent"]) for row in rows)


def rows_of_findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as rows for the wire; if there are too many, or their texts too long, the least serious are left out."""
    rows = list(map(_row, findings))
    if not _fit(rows):
        order = [level.value for level in reversed(Level)]
        rows.sort(key=lambda row: order.index(row["level"]))
    while not _fit(rows):
        rows.pop()
    return rows


def _row(found: Finding) -> dict[str, Any]:
    texts = {"what": found.what[:MAX_WHAT], "remedy": found.remedy[:MAX_REMEDY], "name": found.name[:MAX_NAME]}
    return {"level": found.level.value, "check": found.check, "code": found.code, **texts}


def _fit(rows: list[dict[str, Any]]) -> bool:
    """Whether they fit into one value; each name and each text has a length of two bytes before it, and each row two more at its end."""
    size = sum(2 + sum(4 + len(name) + len(text.encode()) for name, text in row.items()) for row in rows)
    return len(rows) <= MAX_FINDINGS and size <= MAX_BYTES


def findings_of(rows: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """The reverse of :func:`rows_of_findings`; a level of a later version becomes a warning."""
    levels = {level.value: level for level in Level}
    return tuple(Finding(levels.get(r["level"], Level.WARNING), r["check"], r["what"], r["remedy"], r["code"], r["name"]) for r in rows)
