"""
A machine's disks, as both ends have to agree on them.

A disk is identified by its guest device, since node names are often generated (``#block187``) and so differ between two QEMUs started
from one command line; :mod:`~nbdtun.migration.vm.pairing` has the rules. QEMU facts (7.2 and 10.0), from ``query-block``:

- ``qdev`` is the device's id if it has one (``vda``), else a path: ``/machine/peripheral/vda/virtio-backend`` for a named virtio
  disk, ``/machine/peripheral-anon/device[0]`` or ``/machine/unattached/device[16]`` for nameless ones. The number in ``unattached``
  counts everything on the board and differs between versions of QEMU (16 in 7.2, 13 in 10.0 for the same IDE disk).
- ``device`` is ``-drive``'s id, also a generated one (``ide0-hd0``), and empty with ``-blockdev``.
- ``inserted.node-name`` is the root of the chain of nodes, as the guest sees it: filters such as throttle are above the format, and
  mirrors read through them.
- pflash (firmware variables) is a writable drive like any other; only the type of its device shows it (``cfi.pflash01``). QEMU's own
  migration carries its content, as RAM.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, field, frozen

from nbdtun.errors import CommandFailed, ConfigError
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.hardware.model import COUNTED, Hardware
from nbdtun.migration.vm.images import image_of

MAX_DISKS = 64

#: The mode of a disk's write cache: without one, the guest need not flush what it writes.
WRITE_BACK, WRITE_THROUGH = "writeback", "writethrough"
NAMED = re.compile(r"/machine/peripheral/([^/]+)")
CARRIED_BY_QEMU = frozenset({"cfi.pflash01", "cfi.pflash02"})


@frozen
class Disk:
    """
    One writable disk: ``node`` is the node to mirror or export, ``device`` its drive id, ``qdev`` the guest's device, ``size`` in bytes.
    ``place`` is where the guest finds that device, and ``serial`` is the disk's serial number in the guest.

    ``allocated`` is how many bytes its images (backing files too) take on the host, or ``size`` if that is unknown, as for block devices.
    It changes while the guest writes, so two disks are compared without it. They are also compared without ``image``, which shows whether
    two disks share one image: see :mod:`nbdtun.migration.vm.images`; and without ``cache``, which is :data:`WRITE_BACK` or
    :data:`WRITE_THROUGH`, as the guest may change it; and without ``file``, as QEMU calls the image, which no other host is told.
    """

    node: str
    device: str
    qdev: str
    size: int
    format: str = ""
    place: str = ""
    serial: str = ""
    allocated: int = field(default=0, eq=False)
    image: str = field(default="", eq=False)
    cache: str = field(default="", eq=False)
    file: str = field(default="", eq=False)

    @property
    def ident(self) -> str:
        """The id that an operator gave the device; empty for a nameless one."""
        named = NAMED.match(self.qdev)
        return named[1] if named else "" if self.qdev.startswith("/") else self.qdev

    @property
    def counted(self) -> bool:
        """Whether its place is only its position on its bus, counted by us."""
        return COUNTED in self.place

    @property
    def bus(self) -> str:
        """The part of its place that it shares with its neighbours on the bus."""
        return self.place.partition(COUNTED)[0]

    @property
    def nickname(self) -> str:
        """An operator's name for it: the drive id or the device's id rather than a generated node name."""
        generated = not self.node or self.node.startswith("#")  # an empty drive has none
        return self.device or self.ident or self.qdev if generated else self.node

    def called(self, name: str) -> bool:
        """Whether ``name`` is one of its names."""
        return name in (self.node, self.device, self.qdev, self.ident)


@frozen
class LeftOut:
    """A drive that is not copied, and why: information for the operator, not an error."""

    disk: Disk
    why: str

    def __str__(self) -> str:
        return f"{self.disk.nickname or 'a drive'} is not copied: {self.why}"


@frozen
class Inventory:
    """The drives of one machine."""

    disks: tuple[Disk, ...]
    left_out: tuple[LeftOut, ...] = ()

    def select(self, names: Iterable[str] | None, vm: str) -> tuple[Disk, ...]:
        """
        The disks with these names, all if ``names`` is None.

        :raise ConfigError: no disk has such a name, or it is left out.
        """
        if names is None:
            return self.disks
        chosen = [self._find(name, vm) for name in names]
        return tuple(dict.fromkeys(chosen))

    def _find(self, name: str, vm: str) -> Disk:
        for disk in self.disks:
            if disk.called(name):
                return disk
        for left in self.left_out:
            if left.disk.called(name):
                raise ConfigError(f"{vm}: disk {name} cannot be copied: {left.why}")
        raise ConfigError(f"{vm} has no disk {name}; it has {', '.join(disk.nickname for disk in self.disks) or 'no writable disk'}")


async def inventory(monitor: Monitor, hardware: Hardware | None = None) -> Inventory:
    """Query QEMU for the drives of the machine, in QEMU's order; their places come from its ``hardware``."""
    disks: dict[str, Disk] = {}
    left: list[LeftOut] = []
    for drive in await monitor.execute("query-block"):
        disk = _placed(_disk(drive, monitor.credentials.pid if monitor.credentials else 0), hardware)
        why = _unfit(drive) or await _carried(monitor, disk.qdev)
        if why is not None:
            left.append(LeftOut(disk, why))
        elif disk.node not in disks:  # one node on two devices (multipath) is copied once
            disks[disk.node] = disk
    return Inventory(tuple(disks.values()), tuple(left))


def _disk(drive: Mapping[str, Any], pid: int) -> Disk:
    inserted = drive.get("inserted", {})
    image = inserted.get("image", {})
    return Disk(
        node=inserted.get("node-name", ""),
        device=drive.get("device", ""),
        qdev=drive.get("qdev", ""),
        size=image.get("virtual-size", 0),
        format=inserted.get("drv", ""),
        allocated=_allocated(image),
        image=image_of(inserted.get("file", ""), pid),
        cache=_cache(inserted.get("cache", {})),
        file=inserted.get("file", ""),
    )


def _cache(told: Mapping[str, Any]) -> str:
    return "" if "writeback" not in told else WRITE_BACK if told["writeback"] else WRITE_THROUGH


def _placed(disk: Disk, hardware: Hardware | None) -> Disk:
    device = hardware.at(disk.qdev) if hardware is not None and disk.qdev else None
    if device is None:
        return disk
    return evolve(disk, place=device.place, serial=str(device.facts.get("serial", "")))


def _allocated(image: Mapping[str, Any]) -> int:
    """The bytes of an image and its backing files on the host; for anything but a file, QEMU reports 0 or nothing."""
    size: int = image.get("virtual-size", 0)
    taken = 0
    layer: Mapping[str, Any] | None = image
    while layer is not None:
        taken += layer.get("actual-size", 0)
        layer = layer.get("backing-image")
    return min(taken, size) if taken > 0 else size


def _unfit(drive: Mapping[str, Any]) -> str | None:
    inserted = drive.get("inserted")
    if inserted is None:
        return "it is empty"
    if inserted.get("ro"):
        return "it is read-only"
    return None if drive.get("qdev") else "no guest device uses it"


async def _carried(monitor: Monitor, qdev: str) -> str | None:
    path = qdev if qdev.startswith("/") else f"/machine/peripheral/{qdev}"
    try:
        kind = await monitor.execute("qom-get", {"path": path, "property": "type"})
    except CommandFailed:
        return None
    return "QEMU's own migration copies it" if kind in CARRIED_BY_QEMU else None


async def choose(monitor: Monitor, settings: MigrationSettings, here: Hardware) -> tuple[tuple[Disk, ...], tuple[LeftOut, ...]]:
    """
    The disks to copy, and the drives that are not.

    :raise ConfigError: the settings name a disk that does not exist, or there are too many.
    """
    found = await inventory(monitor, here)
    disks = found.select(settings.disks, settings.vm)
    if len(disks) > MAX_DISKS:
        raise ConfigError(f"{settings.vm} has {len(disks)} disks; at most {MAX_DISKS} can be moved")
    return disks, found.left_out
