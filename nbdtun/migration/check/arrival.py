"""
The check of the destination's QEMU: does it wait, and is it the same machine with the same disks?

One list serves both: ``check`` shows it, and a migration obeys it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from nbdtun.migration.capacity import Space, summed
from nbdtun.migration.catalogue import DESTINATION, DISK_CACHE, DISK_SECTORS, DISK_THREAD, DISKS
from nbdtun.migration.check.bitmaps import accept
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.iothreads import ends, lost
from nbdtun.migration.check.obstacles import note_obstacles_to_arriving
from nbdtun.migration.finding import Check, Level
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.bitmaps import Passenger
from nbdtun.migration.vm.disks import WRITE_BACK, WRITE_THROUGH, Disk, inventory
from nbdtun.migration.vm.graph import graph
from nbdtun.migration.vm.hardware.compare import allow, compare
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.hardware.processors import model
from nbdtun.migration.vm.hardware.read import hardware
from nbdtun.migration.vm.images import space_of
from nbdtun.migration.vm.memory import require_incoming
from nbdtun.migration.vm.pairing import Matches
from nbdtun.migration.vm.requirements import RECEIVING, require_commands, version
from nbdtun.migration.vm.sectors import sectors
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
        await _note_sectors(checklist, monitor, pairs.values())
        await _note_threads(checklist, monitor, here, found.values())
        _note_caches(checklist, pairs.values())
        checklist.spaces = _spaces(monitor, wanted, found)
        await accept(checklist, monitor, pairs, wanted.bitmaps)
    return tuple(found.values())


async def _note_sectors(checklist: Checklist, monitor: Monitor, pairs: Iterable[tuple[Disk, Disk]]) -> None:
    """Find images that QEMU itself could not write to."""
    each = tuple(pairs)
    sizes = await sectors(monitor, [here for _, here in each], await graph(monitor))
    for (there, here), sector in zip(each, sizes, strict=True):
        if here.size % sector:
            what = (
                f"disk {there.nickname}: the destination's image has {here.size} bytes, which is no multiple of its {sector}-byte sectors"
            )
            checklist.add(DISK_SECTORS(what))


async def _note_threads(checklist: Checklist, monitor: Monitor, hardware: Hardware, disks: Iterable[Disk]) -> None:
    """Find disks whose copies would be the end of their QEMU."""
    for disk in await lost(monitor, hardware, disks):
        checklist.add(DISK_THREAD(f"disk {disk.nickname}: {ends(f'{await version(monitor)}')}"))


def _spaces(monitor: Monitor, wanted: Wanted, found: Mapping[int, Disk]) -> tuple[Space, ...]:
    """The disk space that is needed here; none for an image that is no file, or cannot be seen."""
    pid = monitor.credentials.pid if monitor.credentials else 0
    every = (space_of(disk.file, pid, wanted.disks[number].allocated) for number, disk in found.items())
    return summed(space for space in every if space is not None)


def _note_caches(checklist: Checklist, pairs: Iterable[tuple[Disk, Disk]]) -> None:
    """Find disks whose guest relies on a cache being off; only IDE's mode of the cache is in the stream."""
    for there, here in pairs:
        if (there.cache, here.cache) == (WRITE_THROUGH, WRITE_BACK) and "/ide:" not in f"/{there.place}":
            what = f"disk {there.nickname}: its write cache is off at the source and on at the destination"
            checklist.add(DISK_CACHE(f"{what}, so its guest may lose writes if that host fails"))


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
