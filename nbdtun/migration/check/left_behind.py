"""Parts of a disk that would stay behind, and be lost with the source: a failure, unless ``--leave-behind`` allows it."""

from __future__ import annotations

from collections.abc import Iterable

from nbdtun.migration.catalogue import BITMAPS, BITMAPS_LOST, LEFT_BEHIND, SNAPSHOTS, Kind
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Check
from nbdtun.migration.settings import Belonging
from nbdtun.migration.vm.belongings import BUSY, Belongings, Bitmap
from nbdtun.migration.vm.bitmaps import Luggage, Passenger, passengers, sort
from nbdtun.units import listed


def note_left_behind(
    checklist: Checklist, found: Iterable[Belongings], leave: frozenset[Belonging], able: bool = True
) -> tuple[Passenger, ...]:
    """
    Add findings about the parts of images besides their contents; parts in ``leave`` may stay behind.

    Returns the bitmaps that are to travel, if this QEMU is ``able`` to send them.
    """
    before = len(checklist.findings)
    luggage = []
    for one in found:
        name = f"disk {one.disk.nickname}"
        _note(checklist, SNAPSHOTS, f"{name}: its internal snapshots", one.snapshots, Belonging.SNAPSHOTS in leave)
        left = Belonging.BITMAPS in leave
        luggage.append(Luggage(stuck=one.bitmaps) if left else sort(one, able))
        _note_stuck(checklist, name, luggage[-1].stuck, left)
        if luggage[-1].travel:
            checklist.ok(Check.IMAGES, f"{name} has the bitmaps {listed(luggage[-1].travel)}")
    if len(checklist.findings) == before:
        checklist.ok(Check.IMAGES, "the images have no snapshots or bitmaps")
    with checklist.collecting(BITMAPS):
        return passengers(luggage)
    return ()


def _note_stuck(checklist: Checklist, disk: str, stuck: Iterable[Bitmap], leave: bool) -> None:
    """A busy bitmap would fail the whole migration, even one that is not in the image."""
    stuck = sorted(stuck, key=lambda bitmap: bitmap.name)
    kept = [bitmap for bitmap in stuck if bitmap.persistent or (bitmap.state == BUSY and not leave)]
    lost = [bitmap for bitmap in stuck if bitmap not in kept]
    noun = "persistent bitmaps" if all(bitmap.persistent for bitmap in kept) else "bitmaps"
    _note(checklist, BITMAPS, f"{disk}: its {noun}", map(str, kept), leave)
    if lost:
        warn_of_loss(checklist, disk, lost)


def warn_of_loss(checklist: Checklist, disk: str, lost: Iterable[object]) -> None:
    """Bitmaps that are in no image are lost, and nobody need allow that."""
    checklist.add(BITMAPS_LOST(f"{disk}: bitmaps outside its image will be lost: {listed(lost)}"))


def _note(checklist: Checklist, kind: Kind, them: str, names: Iterable[str], leave: bool) -> None:
    told = listed(names)
    if told and leave:
        checklist.add(LEFT_BEHIND(f"{them} stay behind (--leave-behind): {told}"))
    elif told:
        checklist.add(kind(f"{them} would stay behind: {told}"))
