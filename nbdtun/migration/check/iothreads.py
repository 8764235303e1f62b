"""
Disks whose requests are served by a thread of their own (``iothread=``), and a QEMU that cannot receive their copies.

QEMU facts: 7.2 (seen with 7.2.22) ends by an assertion when a client leaves the export of a node that an iothread has
(``blockdev-nbd.c:62``): so as soon as a copy has arrived. A virtio-scsi controller gives its disks to its iothread when they are plugged
in. A virtio-blk disk gets to its own only when the guest uses it, after the last client has left. From 8.0 on, such exports end well.
"""

from __future__ import annotations

from collections.abc import Iterable

from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.hardware.model import Device, Hardware
from nbdtun.migration.vm.requirements import version

#: The types of devices that give their disks to an iothread at once begin so.
AT_ONCE = "virtio-scsi"


def loses_exports(release: str) -> bool:
    """Whether a QEMU of this release ends when a client leaves the export of a disk with an iothread."""
    return release.startswith("7.2.")


def ends(release: str) -> str:
    """The line about such a QEMU, without its beginning."""
    return f"QEMU {release} there would end as soon as the copy of a disk with an iothread has arrived"


async def lost(monitor: Monitor, hardware: Hardware, disks: Iterable[Disk]) -> list[Disk]:
    """
    Return those of ``disks`` whose export would end this QEMU, which has this ``hardware``.

    :raise MonitorError: QEMU does not answer.
    """
    if not loses_exports(f"{await version(monitor)}"):
        return []
    controllers = [device for device in hardware.devices if device.kind.startswith(AT_ONCE)]
    threads = await monitor.ask_all("qom-get", [{"path": device.path, "property": "iothread"} for device in controllers])
    having = [device for device, thread in zip(controllers, threads, strict=True) if thread]
    return [disk for disk in disks if _is_below(hardware.at(disk.qdev), having)]


def _is_below(disk: Device | None, controllers: Iterable[Device]) -> bool:
    return disk is not None and any(disk.key.startswith(f"{controller.key}/") for controller in controllers)
