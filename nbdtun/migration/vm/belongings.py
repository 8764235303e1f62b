"""
The parts of an image that a mirror leaves behind: internal snapshots and dirty bitmaps.

QEMU facts (7.2 and 10.0): each node of ``query-named-block-nodes`` has the snapshots of its image (backing files are nodes of their own)
and the bitmaps, including those loaded from the image. A bitmap of a job has no name. QEMU's own migration can carry bitmaps
(``dirty-bitmaps``, ``block-bitmap-mapping``), persistent ones or not; nbdtun does not use that yet. Nothing can carry internal snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph


@frozen
class Bitmap:
    """A dirty bitmap on ``node``; ``persistent``: it is stored in the image; ``state`` is ``busy``, ``inconsistent`` or empty."""

    name: str
    node: str
    persistent: bool
    state: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.state})" if self.state else self.name


@frozen
class Belongings:
    """The names of the ``snapshots`` and the ``bitmaps`` of ``disk``."""

    disk: Disk
    snapshots: tuple[str, ...] = ()
    bitmaps: tuple[Bitmap, ...] = ()


async def belongings(monitor: Monitor, disks: Iterable[Disk], graph: Graph) -> tuple[Belongings, ...]:
    """Query QEMU for the belongings of ``disks``."""
    nodes = await monitor.execute("query-named-block-nodes", {"flat": True})
    return tuple(_of(disk, [node for node in nodes if node["node-name"] in graph.below(disk.node)]) for disk in disks)


def _of(disk: Disk, nodes: Iterable[Mapping[str, Any]]) -> Belongings:
    snapshots: dict[str, str] = {}  # a filter repeats those of the node below it
    bitmaps = []
    for node in nodes:
        snapshots |= {f"{s['id']} {s['name']}": s["name"] or s["id"] for s in node.get("image", {}).get("snapshots", ())}
        bitmaps += [_bitmap(node["node-name"], told) for told in node.get("dirty-bitmaps", ()) if told.get("name")]
    return Belongings(disk, tuple(snapshots.values()), tuple(bitmaps))


def _bitmap(node: str, told: Mapping[str, Any]) -> Bitmap:
    state = next((state for state in ("inconsistent", "busy") if told.get(state)), "")
    return Bitmap(told["name"], node, bool(told.get("persistent")), state)
