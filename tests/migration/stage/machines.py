"""Machines as they are told of, for those who need one and do not care which."""

from __future__ import annotations

from nbdtun.migration.check.arrival import Wanted
from nbdtun.migration.check.departure import Departure
from nbdtun.migration.vm.bitmaps import Passenger
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.hardware.wire import HardwareArgument
from nbdtun.migration.vm.machine import Machine

HARDWARE = Hardware(Machine("pc-q35-7.2-machine", 1 << 27))
PACKED = HardwareArgument().toString(HARDWARE)


def wanted(*disks: Disk, hardware: Hardware = HARDWARE, allowed: tuple[str, ...] = (), bitmaps: tuple[Passenger, ...] = ()) -> Wanted:
    """What is to arrive."""
    return Wanted(hardware, disks, allowed, bitmaps)


def departure(*disks: Disk) -> Departure:
    """What is to go."""
    return Departure(HARDWARE, disks, runs=True)
