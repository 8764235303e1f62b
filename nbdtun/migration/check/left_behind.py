"""Parts of a disk that would stay behind, and be lost with the source: a failure, unless ``--leave-behind`` allows it."""

from __future__ import annotations

from collections.abc import Iterable

from nbdtun.migration.catalogue import BITMAPS, BITMAPS_LOST, LEFT_BEHIND, SNAPSHOTS, Kind
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Check
from nbdtun.migration.settings import Belonging
from nbdtun.migration.vm.belongings import Belongings

#: The most names in one line.
MAX_NAMES = 8


def note_left_behind(checklist: Checklist, found: Iterable[Belongings], leave: frozenset[Belonging]) -> None:
    """Add findings about the parts of images besides their contents; parts in ``leave`` may stay behind."""
    before = len(checklist.findings)
    for one in found:
        name = f"disk {one.disk.nickname}"
        kept = [str(bitmap) for bitmap in one.bitmaps if bitmap.persistent]
        lost = [str(bitmap) for bitmap in one.bitmaps if not bitmap.persistent]
        _note(checklist, SNAPSHOTS, f"{name}: its internal snapshots", one.snapshots, Belonging.SNAPSHOTS in leave)
        _note(checklist, BITMAPS, f"{name}: its persistent bitmaps", kept, Belonging.BITMAPS in leave)
        if lost:
            what = f"{name}: bitmaps outside its image will be lost: {_listed(lost)}"
            checklist.add(BITMAPS_LOST(what))
    if len(checklist.findings) == before:
        checklist.ok(Check.IMAGES, "the images have no snapshots or bitmaps")


def _note(checklist: Checklist, kind: Kind, them: str, names: Iterable[str], leave: bool) -> None:
    listed = _listed(list(names))
    if listed and leave:
        checklist.add(LEFT_BEHIND(f"{them} stay behind (--leave-behind): {listed}"))
    elif listed:
        checklist.add(kind(f"{them} would stay behind: {listed}"))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
