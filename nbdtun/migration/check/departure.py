"""The check of the source's QEMU: can this machine leave, and which disks have to go with it?"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from nbdtun.migration.catalogue import BLOCKED, DISKS, MEMORY_LOSS, SOURCE, STATE
from nbdtun.migration.check.blockers import blockers, of_this_alone
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.emulation import memory_loss_risk
from nbdtun.migration.check.obstacles import note_obstacles_to_leaving
from nbdtun.migration.control.commands import MIGRATION
from nbdtun.migration.control.rows import rows_of_bitmaps, rows_of_disks
from nbdtun.migration.finding import Check
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.bitmaps import Passenger
from nbdtun.migration.vm.disks import Disk, LeftOut, choose
from nbdtun.migration.vm.guest import migratable_state
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.hardware.read import hardware
from nbdtun.migration.vm.machine import RUNNING, Machine
from nbdtun.migration.vm.requirements import SENDING, require_commands, version
from nbdtun.units import size_text


@frozen
class Departure:
    """The VM that is to leave; ``runs``: its guest is running; ``bitmaps``: those that are to go with its disks."""

    hardware: Hardware
    disks: tuple[Disk, ...]
    runs: bool
    left_out: tuple[LeftOut, ...] = ()
    bitmaps: tuple[Passenger, ...] = ()

    @property
    def machine(self) -> Machine:
        """The machine as such."""
        return self.hardware.machine


async def depart(checklist: Checklist, monitor: Monitor, settings: MigrationSettings) -> Departure:
    """
    Check everything.

    :raise MonitorError: QEMU does not answer.
    """
    here = await hardware(monitor)
    runs = False
    disks: tuple[Disk, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    bitmaps: tuple[Passenger, ...] = ()
    with checklist.collecting(SOURCE):
        await require_commands(monitor, SENDING)
        checklist.ok(Check.SOURCE, f"QEMU {await version(monitor)}, machine {here.machine.type}, {size_text(here.machine.memory)} of RAM")
    with checklist.collecting(STATE):
        runs = await migratable_state(monitor) in RUNNING
        checklist.ok(Check.STATE, "the guest is running" if runs else "the guest is paused, and stays paused at the destination")
    with checklist.collecting(SOURCE):
        if runs and (loss := await memory_loss_risk(monitor)):
            checklist.add(MEMORY_LOSS(loss))
    with checklist.collecting(BLOCKED):
        blocking = await blockers(monitor, here)
        for error in of_this_alone(blocking):
            checklist.add(BLOCKED.of(error))
        if not blocking:
            checklist.ok(Check.BLOCKERS, "no migration blockers")
    with checklist.collecting(DISKS):
        disks, left_out = await choose(monitor, settings, here)
        checklist.ok(Check.DISKS, f"to be copied: {_listed(disks)}")
        for left in left_out:
            checklist.ok(Check.DISKS, str(left))
    with checklist.collecting(SOURCE):
        bitmaps = await note_obstacles_to_leaving(checklist, monitor, disks, settings.leave_behind)
    return Departure(here, disks, runs, left_out, bitmaps)


def told_of(departure: Departure, settings: MigrationSettings) -> dict[str, Any]:
    """The arguments that describe it to the destination, in Check and in Prepare."""
    return {
        **MIGRATION.offer(),
        "vm": settings.vm,
        "hardware": departure.hardware,
        "disks": rows_of_disks(departure.disks),
        "bitmaps": rows_of_bitmaps(departure.bitmaps),
        "allowed": [{"name": name} for name in settings.allowed],
    }


def _listed(disks: tuple[Disk, ...]) -> str:
    return ", ".join(f"{disk.nickname} ({size_text(disk.allocated)} of {size_text(disk.size)})" for disk in disks) or "no disk"
