"""
The place of each device, from the board downward: see :class:`~nbdtun.migration.vm.hardware.model.Device`. Rules without I/O.

QEMU facts (7.2 and 10.0): a device's own properties show its place, even if QEMU chose it: ``legacy-addr`` of PCI, ``scsi-id`` with
``lun``, ``unit`` of IDE; but ``port`` of USB only if it was given. 10.0 reports ``addr`` as a text, 7.2 as a number. A bus is named after
its device, if that has an id. So its name is the operator's choice, and only its position among the device's buses counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from nbdtun.migration.vm.hardware.model import COUNTED, Scalar
from nbdtun.migration.vm.hardware.walk import Node

#: Properties that give a device's place on its bus.
ADDRESSES = frozenset(
    {"parent_bus", "legacy-addr", "addr", "channel", "scsi-id", "lun", "unit", "nr", "nsid", "iobase", "port", "address"}  # of I2C
)


@frozen
class Found:
    """A device found in QEMU, with the values of some of its properties."""

    node: Node
    values: Mapping[str, Scalar]

    @property
    def bus(self) -> str:
        """The path of its bus; empty for none."""
        return str(self.values.get("parent_bus", ""))


class Places:
    """The keys of all devices in ``found``, a map from paths to devices, by the buses in ``nodes``."""

    def __init__(self, nodes: Mapping[str, Node], found: Mapping[str, Found]) -> None:
        self._nodes = nodes
        self._found = found
        self._turns = _turns(found)
        self._buses = _bus_turns(nodes)

    def key(self, path: str, depth: int = 32) -> str:
        """The key of the device at ``path``."""
        device = self._found[path]
        bus = device.bus
        own = self._address(device) or f"{_plain(device.node.kind)}{COUNTED}{self._turns[path]}"
        owner = bus.rpartition("/")[0]
        if not depth or owner not in self._found:
            return f"board/{own}"
        turn = self._buses.get(bus, 0)
        between = f"bus{turn}/" if turn and not own.startswith("ide:") else ""
        return f"{self.key(owner, depth - 1)}/{between}{own}"

    def _address(self, device: Found) -> str:
        values = device.values
        if "legacy-addr" in device.node.properties:
            return f"pci:{values.get('legacy-addr', '')}"
        if "scsi-id" in values:
            return f"scsi:{values.get('channel', 0)}:{values['scsi-id']}:{values.get('lun', 0)}"
        if device.bus and "unit" in values:
            turn = self._buses.get(device.bus, 0)
            return f"ide:{turn}.{values['unit']}" if device.node.kind.startswith("ide-") else f"unit:{values['unit']}"
        if not device.bus and isinstance(addr := values.get("addr"), int):
            return f"memory:0x{addr:x}"
        if _bus_kind(self._nodes, device.bus).startswith("virtio-") and device.bus.endswith("/virtio-bus"):
            return "virtio"
        if isinstance(port := values.get("port"), str) and port:
            return f"usb:{port}"
        return next((form.format(values[name]) for name, form in _NUMBERED if device.bus and type(values.get(name)) is int), "")


_NUMBERED = (("nr", "port:{}"), ("nsid", "namespace:{}"), ("iobase", "isa:0x{:x}"), ("address", "i2c:0x{:x}"))


def _bus_kind(nodes: Mapping[str, Node], bus: str) -> str:
    return nodes[bus].kind if bus in nodes else ""


def _plain(kind: str) -> str:
    """A board's part is the same to the guest, and in the stream, whether KVM or QEMU implements it."""
    return kind.removeprefix("kvm-").removeprefix("isa-")


def _turns(found: Mapping[str, Found]) -> dict[str, int]:
    """Each device's position among those of its type on its bus."""
    count: dict[tuple[str, str], int] = {}
    turns = {}
    for path in sorted(found, key=natural):
        group = (found[path].bus, _plain(found[path].node.kind))
        turns[path] = count[group] = count.get(group, -1) + 1
    return turns


def _bus_turns(nodes: Mapping[str, Node]) -> dict[str, int]:
    """Each bus's position among those of its device."""
    count: dict[str, int] = {}
    turns = {}
    for path in sorted((path for path, node in nodes.items() if node.is_bus), key=natural):
        owner = path.rpartition("/")[0]
        turns[path] = count[owner] = count.get(owner, -1) + 1
    return turns


def natural(path: str) -> list[tuple[int, str]]:
    """A sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
