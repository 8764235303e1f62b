"""Obstacles to a migration at either end: a check shows all of them, and they end a migration before it starts."""

from __future__ import annotations

from nbdtun.migration.catalogue import CAPABILITY, CAPABILITY_UNKNOWN
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.left_behind import note_left_behind
from nbdtun.migration.check.users import note_users
from nbdtun.migration.finding import Check
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.settings import Belonging
from nbdtun.migration.vm.belongings import belongings
from nbdtun.migration.vm.bitmaps import Passenger, able
from nbdtun.migration.vm.capabilities import unknown, unsuitable
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import graph
from nbdtun.migration.vm.memory import switched_on


async def note_obstacles_to_leaving(
    checklist: Checklist, monitor: Monitor, disks: tuple[Disk, ...], leave: frozenset[Belonging]
) -> tuple[Passenger, ...]:
    """
    Check the source's QEMU; ``disks`` are to be moved, and parts in ``leave`` may stay behind. Returns the bitmaps that are to travel.

    :raise MonitorError: QEMU does not answer.
    """
    await _note_capabilities(checklist, monitor, End.SOURCE)
    seen = await graph(monitor)
    await note_users(checklist, monitor, End.SOURCE, disks, seen)
    return note_left_behind(checklist, await belongings(monitor, disks, seen), leave, await able(monitor))


async def note_obstacles_to_arriving(checklist: Checklist, monitor: Monitor, disks: tuple[Disk, ...]) -> None:
    """
    Check the destination's QEMU, whose ``disks`` may be written to.

    :raise MonitorError: QEMU does not answer.
    """
    await _note_capabilities(checklist, monitor, End.DESTINATION)
    await note_users(checklist, monitor, End.DESTINATION, disks, await graph(monitor))


async def _note_capabilities(checklist: Checklist, monitor: Monitor, end: End) -> None:
    name = f"QEMU at the {end.value}"
    capabilities = await switched_on(monitor)
    found = list(unsuitable(end, name, capabilities, await monitor.execute("query-migrate-parameters")))
    for error in found:
        checklist.add(CAPABILITY.of(error))
    for capability in unknown(capabilities):
        checklist.add(CAPABILITY_UNKNOWN(f"{name} has the migration capability {capability} on, which is unknown to nbdtun"))
    if not found:
        checklist.ok(Check.CAPABILITIES, f"{name} has no conflicting migration capability on")
