"""
The parts of an image besides its content, which a mirror does not copy: internal snapshots and dirty bitmaps.

QEMU facts (7.2 and 10.0): each node of ``query-named-block-nodes`` has the snapshots of its image (backing files are nodes of their own)
and the bitmaps, including those loaded from the image. A bitmap of a job has no name. QEMU's own migration can carry bitmaps, persistent
ones or not: see :mod:`nbdtun.migration.vm.bitmaps`. Nothing can carry internal snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from nbdtun.migration.ids import PREFIX
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph

#: Drivers whose node has the same content as the one node below it.
FILTERS = frozenset({"blkdebug", "blklogwrites", "compress", "copy-before-write", "copy-on-read", "preallocate", "throttle"})

BUSY, INCONSISTENT = "busy", "inconsistent"


@frozen
class Bitmap:
    """
    A dirty bitmap on ``node``; ``persistent``: it is stored in the image; ``state`` is ``busy``, ``inconsistent`` or empty.

    A disabled one is not ``recording``. ``granularity`` is how many bytes of the disk each of its bits stands for.
    """

    name: str
    node: str
    persistent: bool
    state: str = ""
    recording: bool = True
    granularity: int = 1 << 16

    def __str__(self) -> str:
        return f"{self.name} ({self.state})" if self.state else self.name


@frozen
class Image:
    """The image of a disk: its ``node``, its ``format``, and whether that stores bitmaps. ``why_not`` is the reason if it does not."""

    node: str
    format: str = ""
    why_not: str = ""


@frozen
class Belongings:
    """
    The names of the ``snapshots`` and the ``bitmaps`` of ``disk``, and the ``image`` at the top of its backing chain.

    ``layers`` are the nodes from the disk's root to that image: all have the same content. ``below`` has all its nodes.
    """

    disk: Disk
    snapshots: tuple[str, ...] = ()
    bitmaps: tuple[Bitmap, ...] = ()
    image: Image = Image("")
    layers: tuple[str, ...] = ()
    below: frozenset[str] = frozenset()


async def belongings(monitor: Monitor, disks: Iterable[Disk], graph: Graph) -> tuple[Belongings, ...]:
    """Query QEMU for the belongings of ``disks``."""
    answer = await monitor.execute("query-named-block-nodes", {"flat": True})
    nodes = {node["node-name"]: node for node in answer}
    return tuple(_of(disk, nodes, graph) for disk in disks)


def _of(disk: Disk, nodes: Mapping[str, Mapping[str, Any]], graph: Graph) -> Belongings:
    snapshots: dict[str, str] = {}  # a filter repeats those of the node below it
    bitmaps: list[Bitmap] = []
    below = graph.below(disk.node)
    for name, node in nodes.items():
        if name in below:
            snapshots |= {f"{s['id']} {s['name']}": s["name"] or s["id"] for s in node.get("image", {}).get("snapshots", ())}
            bitmaps += [_bitmap(name, told) for told in node.get("dirty-bitmaps", ()) if _is_named(told)]
    layers = layers_of(disk.node, nodes, graph)
    return Belongings(disk, tuple(snapshots.values()), tuple(bitmaps), _image(layers[-1], nodes), layers, frozenset(below))


async def bitmaps_now(monitor: Monitor, known: Iterable[Belongings]) -> list[frozenset[tuple[str, str]]]:
    """Query QEMU for the names and nodes of the bitmaps of each disk in ``known``, by one command; its nodes are those of before."""
    answer = await monitor.execute("query-named-block-nodes", {"flat": True})
    every = [(told["name"], node["node-name"]) for node in answer for told in node.get("dirty-bitmaps", ()) if _is_named(told)]
    return [frozenset((name, node) for name, node in every if node in one.below) for one in known]


def _is_named(told: Mapping[str, Any]) -> bool:
    """Whether it is a client's: neither a job's, nor one of ours."""
    return bool(told.get("name")) and not told["name"].startswith(PREFIX)


def _bitmap(node: str, told: Mapping[str, Any]) -> Bitmap:
    state = next((state for state in (INCONSISTENT, BUSY) if told.get(state)), "")
    recording, granularity = bool(told.get("recording", True)), int(told.get("granularity", 1 << 16))
    return Bitmap(told["name"], node, bool(told.get("persistent")), state, recording, granularity)


def layers_of(root: str, nodes: Mapping[str, Mapping[str, Any]], graph: Graph) -> tuple[str, ...]:
    """The names of the nodes from the disk's ``root`` to its image: those above it are filters."""
    layers = [root]
    while nodes.get(layers[-1], {}).get("drv") in FILTERS:
        below = graph.children.get(layers[-1], frozenset())
        if len(below) != 1:
            break
        layers += below
    return tuple(layers)


def _image(name: str, nodes: Mapping[str, Mapping[str, Any]]) -> Image:
    node = nodes.get(name, {})
    driver = node.get("drv", "")
    if driver != "qcow2":
        return Image(name, driver, f"is {driver or 'of an unknown format'}, and only qcow2 stores bitmaps")
    version = node.get("image", {}).get("format-specific", {}).get("data", {}).get("compat", "")
    return Image(name, driver, "is qcow2 with compat=0.10, which stores no bitmaps" if version == "0.10" else "")
