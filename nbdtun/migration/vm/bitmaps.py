"""
Dirty bitmaps on their way: QEMU's own migration carries them, persistent ones or not, in the stream of the memory.

The source sends copies of them, made just before the memory is sent, and not the bitmaps themselves. So whatever becomes of the migration,
the bitmaps at the source are untouched.

QEMU facts (7.2 and 10.0, in all four directions; ``migration/block-dirty-bitmap.c``):

- With the capability ``dirty-bitmaps`` and a ``block-bitmap-mapping`` at both ends, bitmaps go from node to node, by aliases of ours.
  A ``transform`` makes the copy of a persistent bitmap persistent at the destination. Disabled ones stay disabled.
- A bitmap that was sent itself is marked as "not to be stored" when the migration begins. A migration that is cancelled before it is
  complete does not undo that: when the source's QEMU ends, the bitmap is missing from its image, though QEMU called it persistent.
- Bitmaps that are sent are busy meanwhile. A bitmap on a mapped node that is busy or inconsistent fails the migration, even if it is not
  in the mapping.
- The contents are sent while the guest is paused: 2 MiB for a disk of 1 TiB with the usual granularity.
- A merge works across nodes of equal size. A copy that is enabled first, and merged into then, misses no write.
- A mapping can be emptied, but not removed. It has no effect without the capability.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

from nbdtun.errors import NotMigratable
from nbdtun.migration.ids import PREFIX, bitmap_name
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.belongings import BUSY, Belongings, Bitmap, belongings, bitmaps_now
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import graph
from nbdtun.migration.vm.memory import MAPPING, Tuning, switched_on

CAPABILITY = "dirty-bitmaps"
#: QEMU's limit for the names of bitmaps in the stream, in bytes; and ours for their number, so that they fit into one message.
MAX_NAME, MAX_BITMAPS = 255, 200


@frozen
class Passenger:
    """A bitmap that is to travel: that of the disk with this number."""

    disk: int
    name: str
    persistent: bool


@frozen
class Awaited:
    """
    What a destination waits for: the memory at ``target``, over so many ``connections`` beside the main one, and with it these ``bitmaps``.
    """

    target: str
    bitmaps: tuple[Passenger, ...] = ()
    connections: int = 0


@frozen
class Luggage:
    """The bitmaps of one disk: those that can ``travel``, and those that are ``stuck``, each with its reason as its state."""

    travel: tuple[Bitmap, ...] = ()
    stuck: tuple[Bitmap, ...] = ()


def sort(one: Belongings, able: bool) -> Luggage:
    """Sort the bitmaps of a disk at the source, whose QEMU is ``able`` to send some."""
    travel: dict[str, Bitmap] = {}
    stuck = []
    for bitmap in sorted(one.bitmaps, key=lambda bitmap: (not bitmap.persistent, bitmap.name)):
        why = _why_stuck(bitmap, one, able) or ("two have this name" if bitmap.name in travel else "")
        if why:
            stuck.append(evolve(bitmap, state=why))
        else:
            travel[bitmap.name] = bitmap
    return Luggage(tuple(travel.values()), tuple(stuck))


def _why_stuck(bitmap: Bitmap, one: Belongings, able: bool) -> str:
    if bitmap.node not in one.layers:
        return f"on the node {bitmap.node} below the disk's image"
    if bitmap.state:
        return bitmap.state
    if len(bitmap.name.encode()) > MAX_NAME:
        return "its name is too long"
    return "" if able else "this QEMU cannot send bitmaps"


async def able(monitor: Monitor) -> bool:
    """Whether this QEMU can send or receive bitmaps."""
    return CAPABILITY in await switched_on(monitor)


def passengers(luggage: Iterable[Luggage]) -> tuple[Passenger, ...]:
    """
    The bitmaps that travel, of all disks in their order.

    :raise NotMigratable: there are too many.
    """
    every = tuple(Passenger(number, bitmap.name, bitmap.persistent) for number, disk in enumerate(luggage) for bitmap in disk.travel)
    if len(every) > MAX_BITMAPS:
        what = f"the disks have {len(every)} bitmaps; at most {MAX_BITMAPS} can travel"
        raise NotMigratable(what, "delete some, or migrate without them: --leave-behind bitmaps")
    return every


def expected(passengers: Iterable[Passenger], nodes: Mapping[int, tuple[str, str]]) -> list[dict[str, Any]]:
    """The destination's mapping; ``nodes`` has the node and the alias of each disk, by its number."""
    return [_mapped(*nodes[n], [{"name": one.name, "alias": one.name} for one in some]) for n, some in _by_disk(passengers)]


def _by_disk(passengers: Iterable[Passenger]) -> Iterator[tuple[int, list[Passenger]]]:
    every = list(passengers)
    for number in sorted({one.disk for one in every}):
        yield number, [one for one in every if one.disk == number]


def _mapped(node: str, alias: str, bitmaps: list[dict[str, Any]]) -> dict[str, Any]:
    return {"node-name": node, "alias": alias, "bitmaps": bitmaps}


class Copies:
    """
    The copies at the source, of the bitmaps of ``disks``; these are called by the names of their exports.

    With ``leave`` there are none: the bitmaps are to stay behind.
    """

    def __init__(self, monitor: Monitor, disks: Mapping[str, Disk], leave: bool) -> None:
        self.passengers: tuple[Passenger, ...] = ()
        self._leave = leave
        self._monitor = monitor
        self._disks = disks
        self._found: tuple[Belongings, ...] = ()
        self._originals: tuple[Luggage, ...] = ()

    def __repr__(self) -> str:
        return f"<Copies of {len(self.passengers)} bitmaps>"

    async def make(self, undo: UndoStack, tuning: Tuning) -> None:
        """
        Copy the bitmaps as they are now, and let QEMU send the copies.

        :raise NotMigratable: a bitmap has come meanwhile that cannot travel.
        """
        self._found, self._originals = await self._look()
        for one, _, luggage in self._each():
            _refuse(one, luggage)
        self.passengers = passengers(self._originals)
        if self.passengers:
            undo.push("remove the copies of the bitmaps", self.remove)
            await self._copy()
        if self.passengers or (await switched_on(self._monitor)).get(CAPABILITY):  # another client's mapping is not ours
            capabilities = (CAPABILITY,) if self.passengers else ()
            await tuning.set(undo, capabilities, {MAPPING: self._mapping()})

    async def _look(self) -> tuple[tuple[Belongings, ...], tuple[Luggage, ...]]:
        disks = () if self._leave else self._disks.values()
        found = await belongings(self._monitor, disks, await graph(self._monitor))
        can = await able(self._monitor)
        return found, tuple(sort(one, can) for one in found)

    async def _copy(self) -> None:
        for one, name, luggage in self._each():
            for number, bitmap in enumerate(luggage.travel):
                copy = {"node": one.image.node, "name": bitmap_name(name, number), "granularity": bitmap.granularity}
                await self._monitor.execute("block-dirty-bitmap-add", {**copy, "disabled": not bitmap.recording})
                source = {"node": bitmap.node, "name": bitmap.name}
                merge = {"node": one.image.node, "target": copy["name"], "bitmaps": [source]}
                await self._monitor.execute("block-dirty-bitmap-merge", merge)

    def _each(self) -> Iterator[tuple[Belongings, str, Luggage]]:
        return zip(self._found, self._disks, self._originals, strict=False)

    def _mapping(self) -> list[dict[str, Any]]:
        mapping = []
        for disk, (one, name, luggage) in enumerate(self._each()):
            sent = [
                {"name": bitmap_name(name, number), "alias": bitmap.name, "transform": {"persistent": bitmap.persistent}}
                for number, bitmap in enumerate(luggage.travel)
                if Passenger(disk, bitmap.name, bitmap.persistent) in self.passengers
            ]
            if sent:
                mapping.append(_mapped(one.image.node, name, sent))
        return mapping

    async def restrict(self, taken: Iterable[Passenger], tuning: Tuning) -> None:
        """Send only those that the destination has ``taken``."""
        chosen = frozenset(taken)
        remaining = tuple(one for one in self.passengers if one in chosen)
        if remaining != self.passengers:
            self.passengers = remaining
            await tuning.change({MAPPING: self._mapping()})

    async def check(self) -> None:
        """
        Check that no bitmap has come or gone since they were copied.

        :raise NotMigratable: one has; the text names it.
        """
        for one, after in zip(self._found, await bitmaps_now(self._monitor, self._found), strict=True):
            before = frozenset((bitmap.name, bitmap.node) for bitmap in one.bitmaps)
            changed = sorted(bitmap for bitmap, _ in before ^ after)
            if changed:
                what = f"disk {one.disk.nickname}: bitmaps were added or removed while the memory was sent: {', '.join(changed)}"
                raise NotMigratable(what, "migrate again when no backup is being made")

    async def remove(self) -> None:
        """Remove the copies; safe to repeat."""
        await sweep(self._monitor)


def _refuse(one: Belongings, luggage: Luggage) -> None:
    lost = [str(bitmap) for bitmap in luggage.stuck if bitmap.persistent or bitmap.state == BUSY]
    if lost:
        what = f"disk {one.disk.nickname}: bitmaps have come that would stay behind: {', '.join(lost)}"
        raise NotMigratable(what, "delete them, or migrate without bitmaps: --leave-behind bitmaps")


async def sweep(monitor: Monitor) -> list[str]:
    """Remove the copies that a migration has left; returns their names."""
    nodes = await monitor.execute("query-named-block-nodes", {"flat": True})
    left = [(node["node-name"], told["name"]) for node in nodes for told in node.get("dirty-bitmaps", ()) if _is_ours(told)]
    for node, name in left:
        await monitor.execute("block-dirty-bitmap-remove", {"node": node, "name": name})
    return [name for _, name in left]


def _is_ours(told: Mapping[str, Any]) -> bool:
    return str(told.get("name", "")).startswith(PREFIX)
