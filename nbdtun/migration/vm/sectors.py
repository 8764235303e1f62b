"""
The sectors of a disk's image: a QEMU writes to the host in whole ones.

QEMU facts (7.2 and 10.0): an image that bypasses the host's cache (``cache.direct``) is written in sectors of the device below it; blkdebug
can ask for larger ones. A raw image whose size is no multiple of them cannot be written to by anybody who may not enlarge it, such as an
export: ``Image size is not a multiple of request alignment``, or, in 7.2, ``Block node is read-only``. Other formats may end anywhere. No
command tells the size of the sectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.belongings import layers_of
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph
from nbdtun.migration.vm.images import sector_of

_ON_THE_HOST = frozenset({"file", "host_device"})
_WITHOUT_FORMAT = _ON_THE_HOST | {"raw"}


async def sectors(monitor: Monitor, disks: Iterable[Disk], graph: Graph) -> tuple[int, ...]:
    """The size of the sectors of each disk's image, in bytes; 1 if it may end anywhere, or nothing is known."""
    nodes = {node["node-name"]: node for node in await monitor.execute("query-named-block-nodes", {"flat": True})}
    pid = monitor.credentials.pid if monitor.credentials else 0
    return tuple(_sector_of(layers_of(disk.node, nodes, graph)[-1], nodes, graph, pid) for disk in disks)


def _sector_of(image: str, nodes: Mapping[str, Mapping[str, Any]], graph: Graph, pid: int) -> int:
    if nodes.get(image, {}).get("drv") not in _WITHOUT_FORMAT:
        return 1
    return max((_wanted(nodes[name], pid) for name in graph.below(image) if name in nodes), default=1)


def _wanted(node: Mapping[str, Any], pid: int) -> int:
    driver, file = node.get("drv"), str(node.get("file", ""))
    if driver in _ON_THE_HOST and node.get("cache", {}).get("direct"):
        return sector_of(file, pid)
    return _align(file) if driver == "blkdebug" else 1


def _align(file: str) -> int:
    try:
        told = json.loads(file.removeprefix("json:"))
    except ValueError:
        return 1
    align = told.get("align") if isinstance(told, dict) else None
    return align if type(align) is int and align > 0 else 1
