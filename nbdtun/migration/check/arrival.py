"""The destination's QEMU, looked at: does it wait, and is it the same machine with the same disks?"""

from __future__ import annotations

from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import Disk, inventory
from nbdtun.migration.vm.exports import Matches
from nbdtun.migration.vm.machine import Machine, machine
from nbdtun.migration.vm.memory import require_incoming
from nbdtun.migration.vm.requirements import RECEIVING, require_commands, version
from nbdtun.units import size_text


async def arrive(checklist: Checklist, monitor: Monitor, there: Machine, disks: tuple[Disk, ...]) -> None:
    """
    Look at everything; ``there`` and ``disks`` are the source's.

    :raise MonitorError: QEMU cannot be asked.
    """
    with checklist.collecting("destination"):
        await require_incoming(monitor)
        await require_commands(monitor, RECEIVING)
        checklist.ok("destination", f"QEMU {await version(monitor)} waits for a migration")
    _compare(checklist, await machine(monitor), there)
    matches = Matches(await inventory(monitor))
    for disk in disks:
        with checklist.collecting("disks"):
            checklist.ok("disks", f"disk {disk.nickname}: {_pair(disk, matches.find(disk))}")


def _compare(checklist: Checklist, here: Machine, there: Machine) -> None:
    differences = list(here.differences(there))
    for difference in differences:
        with checklist.collecting("machine"):
            raise difference
    if not differences:
        checklist.ok("machine", f"both are {here.type} with {size_text(here.memory)} of RAM" if here.kind else "both have the same RAM")


def _pair(there: Disk, here: Disk) -> str:
    """What is alike of two disks that fit, and what may differ."""
    kind = here.format if here.format == there.format else f"{there.format} becomes {here.format}"
    size = size_text(here.size)
    return f"{kind}, {size}" if here.size == there.size else f"{kind}, the first {size_text(there.size)} of {size} are used"
