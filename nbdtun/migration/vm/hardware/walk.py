"""
A QEMU's tree of objects, walked from ``/machine``: which devices there are, on which buses.

QEMU facts (7.2 and 10.0): a device has the property ``parent_bus``, which is empty for one without a bus (a DIMM); a bus is a child of
its device. Both have ``realized``. Most objects are memory regions and interrupt lines, which have no children. ``qom-list`` reports names
and types, and only ``qom-get`` reports values; ``qom-list-get``, which reports both at once, came with 10.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from nbdtun.errors import MonitorError
from nbdtun.migration.qmp.monitor import Monitor

#: Limits of objects and levels; a machine of 64 disks and 255 processors has 2000 objects in 8 levels.
MAX_OBJECTS, MAX_DEPTH = 20_000, 24
#: Types that are skipped: those without a device in them, and the eight EEPROMs of each PC, which cannot be told apart.
LEAVES = ("memory-region", "irq", "smbus-eeprom", "kvmvapic")
#: Types of buses that have no children; a SCSI bus has the disks that were given without a ``-device``.
BUSES = frozenset({"IDE", "PCI", "PCIE", "ISA", "System", "i2c-bus", "usb-bus", "virtio-pci-bus", "virtio-serial-bus", "floppy-bus"})


@frozen
class Node:
    """An object at ``path``: its type, and its properties' names with their types, without its children."""

    path: str
    kind: str
    properties: Mapping[str, str] = field(factory=dict)

    @property
    def is_device(self) -> bool:
        """Whether it is a device; processors are."""
        return "parent_bus" in self.properties

    @property
    def is_bus(self) -> bool:
        """Whether it is a bus."""
        return self.kind in BUSES or ("realized" in self.properties and not self.is_device)

    @property
    def is_cpu(self) -> bool:
        """Whether it is a processor."""
        return self.kind.endswith("-cpu")


async def walk(monitor: Monitor) -> dict[str, Node]:
    """
    All objects that may matter, by their paths.

    :raise MonitorError: QEMU cannot be asked, or has more objects than can be.
    """
    found: dict[str, Node] = {}
    level = [("/machine", "machine")]
    for _ in range(MAX_DEPTH):
        if not level:
            return found
        found |= {path: Node(path, kind) for path, kind in level if kind in BUSES}
        level = _one_cpu([(path, kind) for path, kind in level if kind not in BUSES])
        lists = await monitor.ask_all("qom-list", [{"path": path} for path, _ in level])
        below: list[tuple[str, str]] = []
        for (path, kind), rows in zip(level, lists, strict=True):
            node = Node(path, kind, {row["name"]: row["type"] for row in rows or () if not row["type"].startswith("child<")})
            found[path] = node
            if not node.is_cpu:
                below += _children(path, rows or ())
        level = below
        if len(found) + len(level) > MAX_OBJECTS:
            break
    raise MonitorError(f"{monitor.name}: QEMU has more than {MAX_OBJECTS} objects; is {monitor.path} a QEMU monitor?")


def _one_cpu(level: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same with one processor: each has five hundred properties, and all are alike."""
    cpus = [each for each in level if each[1].endswith("-cpu")]
    others = frozenset(cpus[1:])
    return [each for each in level if each not in others]


def _children(path: str, rows: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    children = [(row["name"], row["type"][len("child<") : -1]) for row in rows if row["type"].startswith("child<")]
    return [(f"{path}/{name}", kind) for name, kind in children if not kind.endswith(LEAVES)]
