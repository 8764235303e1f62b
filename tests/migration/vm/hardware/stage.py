"""A small machine of a q35 board, and what is found if one of two differs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve

from nbdtun.migration.finding import Finding
from nbdtun.migration.vm.hardware.model import Block, Device, Hardware, Scalar
from nbdtun.migration.vm.machine import Machine

BRIDGE = "board/q35-pcihost~0"
CPU: dict[str, Scalar] = {
    "type": "Nehalem-x86_64-cpu",
    "vendor": "GenuineIntel",
    "model": 26,
    "level": 11,
    "phys-bits": 40,
    "sse2": True,
    "aes": False,
}
NIC = Device(f"{BRIDGE}/pci:05.0", "virtio-net-pci", "n0", {"vectors": 4})
NIC_ITSELF = Device(f"{BRIDGE}/pci:05.0/virtio", "virtio-net-device", "n0", {"mq": True, "mac": "52:54:00:00:00:01"})
DISK = Device(f"{BRIDGE}/pci:06.0", "virtio-blk-pci")
HERE = Hardware(
    Machine("pc-q35-7.2-machine", 1 << 27), "7.2.22", "tcg", {"slots": 4}, CPU, ("core 0",),
    (Device(BRIDGE, "q35-pcihost"), NIC, NIC_ITSELF, DISK), (Block("pc.ram", 1 << 27, 1 << 27),),
)  # fmt: skip


def lines(found: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Each finding's level, name and text."""
    return [(one.level.value, one.name, one.what) for one in found]


def having(*more: Device, **changed: Any) -> Hardware:
    """The same with more devices."""
    return evolve(HERE, devices=(*HERE.devices, *more), **changed)


def without(*gone: Device, **changed: Any) -> Hardware:
    """The same with fewer."""
    return evolve(HERE, devices=tuple(device for device in HERE.devices if device not in gone), **changed)


def replaced(device: Device, **changed: Any) -> Hardware:
    """The same with another of one device's ``key``, ``kind`` and ``ident``, or with other facts."""
    parts = {name: changed.pop(name) for name in ("key", "kind", "ident") if name in changed}
    other = evolve(device, facts={**device.facts, **changed}, **parts)
    return evolve(HERE, devices=tuple(other if each is device else each for each in HERE.devices))


def cpu(**changed: Any) -> Hardware:
    """The same with another processor; a name has underscores."""
    return evolve(HERE, cpu=CPU | {name.replace("_", "-"): value for name, value in changed.items()})
