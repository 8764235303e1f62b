"""
The check of the destination's QEMU: does it wait, and is it the same machine with the same disks?

One list serves both: ``check`` shows it, and a migration obeys it.
"""

from __future__ import annotations

from attrs import frozen

from nbdtun.migration.catalogue import DESTINATION, DISKS
from nbdtun.migration.check.bitmaps import accept
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.obstacles import note_obstacles_to_arriving
from nbdtun.migration.finding import Check, Level
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.bitmaps import Passenger
from nbdtun.migration.vm.disks import Disk, inventory
from nbdtun.migration.vm.hardware.compare import allow, compare
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.hardware.processors import model
from nbdtun.migration.vm.hardware.read import hardware
from nbdtun.migration.vm.memory import require_incoming
from nbdtun.migration.vm.pairing import Matches
from nbdtun.migration.vm.requirements import RECEIVING, require_commands, version
from nbdtun.units import size_text


@frozen
class Wanted:
    """The VM that is to arrive: the source's ``hardware``, ``disks`` and ``bitmaps``, and the names in which the destination may differ."""

    hardware: Hardware
    disks: tuple[Disk, ...]
    allowed: tuple[str, ...] = ()
    bitmaps: tuple[Passenger, ...] = ()


async def arrive(checklist: Checklist, monitor: Monitor, wanted: Wanted) -> tuple[Disk, ...]:
    """
    Check everything; returns the disks here that match those of the source, as far as there are any.

    :raise MonitorError: QEMU does not answer.
    """
    with checklist.collecting(DESTINATION):
        await require_incoming(monitor)
        await require_commands(monitor, RECEIVING)
        checklist.ok(Check.DESTINATION, f"QEMU {await version(monitor)} is waiting for a migration")
    here = await hardware(monitor)
    _compare(checklist, here, wanted)
    there = await inventory(monitor, here)
    with checklist.collecting(DESTINATION):
        await note_obstacles_to_arriving(checklist, monitor, there.disks)
    matches = Matches(there, wanted.disks)
    found: dict[int, Disk] = {}
    for number, disk in enumerate(wanted.disks):
        with checklist.collecting(DISKS):
            found[number] = matches.find(disk)
            checklist.ok(Check.DISKS, f"disk {disk.nickname}: {_pair(disk, found[number])}")
    pairs = {number: (wanted.disks[number], here) for number, here in found.items()}
    with checklist.collecting(DESTINATION):
        await accept(checklist, monitor, pairs, wanted.bitmaps)
    return tuple(found.values())


def _compare(checklist: Checklist, here: Hardware, wanted: Wanted) -> None:
    findings = allow(compare(wanted.hardware, here), wanted.allowed)
    differing = {finding.check for finding in findings if finding.level is not Level.OK}
    for check, alike in _alike(here):
        if check not in differing and alike:
            checklist.ok(check, alike)
    for finding in findings:
        checklist.add(finding)


def _alike(here: Hardware) -> tuple[tuple[Check, str], ...]:
    """The text for each part in which nothing differs."""
    machine, count = here.machine, len(here.processors)
    both = f"both are {machine.type} with {size_text(machine.memory)} of RAM" if machine.kind else "both have the same RAM"
    cpus = f"both have {count} CPU{'s' if count > 1 else ''} {model(here)} with the same features" if here.cpu else ""
    devices = f"all {len(here.devices)} devices match, at the same addresses" if here.devices else ""
    return (Check.MACHINE, both), (Check.CPU, cpus), (Check.DEVICES, devices)


def _pair(there: Disk, here: Disk) -> str:
    """The text for two disks that match: their format, and their size."""
    kind = here.format if here.format == there.format else f"{there.format} becomes {here.format}"
    size = size_text(here.size)
    return f"{kind}, {size}" if here.size == there.size else f"{kind}, the first {size_text(there.size)} of {size} are used"
