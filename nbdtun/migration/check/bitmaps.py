"""The bitmaps that the destination can take. One that it cannot take is a failure if it is persistent, else a warning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from nbdtun.migration.catalogue import BITMAPS_REFUSED
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.left_behind import warn_of_loss
from nbdtun.migration.finding import Check
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.belongings import Belongings, belongings
from nbdtun.migration.vm.bitmaps import Passenger, able
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import graph
from nbdtun.units import listed


@frozen
class Accepted:
    """The ``bitmaps`` that the destination takes; ``nodes`` are those that get them, by the numbers of their disks."""

    bitmaps: tuple[Passenger, ...] = ()
    nodes: Mapping[int, str] = {}


async def accept(checklist: Checklist, monitor: Monitor, pairs: Mapping[int, tuple[Disk, Disk]], bitmaps: Iterable[Passenger]) -> Accepted:
    """
    Check which of ``bitmaps`` can arrive; ``pairs`` are the disks, at the source and here, by their numbers.

    :raise MonitorError: QEMU does not answer.
    """
    wanted = {number: [one for one in bitmaps if one.disk == number] for number in pairs}
    if not any(wanted.values()):
        return Accepted()
    why = "" if await able(monitor) else "QEMU there cannot receive bitmaps"
    found = await belongings(monitor, [here for _, here in pairs.values()], await graph(monitor))
    taken: list[Passenger] = []
    for number, target in zip(pairs, found, strict=True):
        there, here = pairs[number]
        reason = why or ("" if there.size == here.size else "the destination's image is larger")
        taken += _note(checklist, f"disk {there.nickname}", wanted[number], target, reason)
    return Accepted(tuple(taken), {number: target.image.node for number, target in zip(pairs, found, strict=True)})


def _note(checklist: Checklist, disk: str, wanted: Iterable[Passenger], here: Belongings, why: str) -> list[Passenger]:
    travel, lost = [], []
    stuck: dict[str, list[str]] = {}
    for one in wanted:
        reason = why or _why_not(one, here)
        if not reason:
            travel.append(one)
        elif one.persistent:
            stuck.setdefault(reason, []).append(one.name)
        else:
            lost.append(f"{one.name} ({reason})")
    for reason, names in stuck.items():
        what = f"{disk}: its persistent bitmaps would stay behind: {listed(names)}; {reason}"
        checklist.add(BITMAPS_REFUSED(what))
    if lost:
        warn_of_loss(checklist, disk, lost)
    if travel:
        checklist.ok(Check.IMAGES, f"{disk}: bitmaps {listed(one.name for one in travel)} travel")
    return travel


def _why_not(one: Passenger, here: Belongings) -> str:
    if one.persistent and here.image.why_not:
        return f"the destination's image {here.image.why_not}"
    names = {bitmap.name for bitmap in here.bitmaps if bitmap.node == here.image.node}
    return "the destination's image has a bitmap of this name" if one.name in names else ""
