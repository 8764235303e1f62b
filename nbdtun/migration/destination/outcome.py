"""
The outcome of a migration that was left open: only the destination can find out whether the VM has run there.

The answer is an end as well: a QEMU that has received the VM and was not told to run it is ended, so that it never will be.
"""

from __future__ import annotations

from contextlib import suppress

from nbdtun.errors import MonitorError
from nbdtun.migration.control.commands import Outcome
from nbdtun.migration.destination.recovery import clean_up
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import read
from nbdtun.migration.vm.machine import run_state
from nbdtun.migration.vm.memory import query_migration

#: Run states of a machine whose guest waits to be told to run, for the first time or again.
WAITING = frozenset({"inmigrate", "prelaunch", "paused", "postmigrate"})


async def settle(monitor: Monitor) -> Outcome:
    """
    At the destination: find out whether the VM has run there; if not, and its memory is there, end its QEMU so that it never will.

    Its daemon may have been started again since and know nothing but what the journal tells: one that was taken over in order to be
    paused has arrived, one that was not taken over has not. Else a guest that is paused has run if its devices have written: those
    statistics are not part of a migration, and a mirror's writes do not count for the guest's device.

    :raise MonitorError: QEMU cannot be asked; it may have ended, or not.
    """
    state = await run_state(monitor)
    if state == "inmigrate" and (await query_migration(monitor)).status == "none":
        await clean_up(monitor)
        return Outcome.FRESH  # it can be of use yet
    if state not in WAITING or await _was_taken_over(monitor):
        await clean_up(monitor)
        return Outcome.ARRIVED
    with suppress(MonitorError):  # it may go so fast that there is no answer
        await monitor.execute("quit")
    return Outcome.GONE


async def _was_taken_over(monitor: Monitor) -> bool:
    written_down = await read(monitor)
    if written_down is not None and not (written_down.handed_over and written_down.runs):
        return written_down.handed_over
    return await _has_written(monitor)


async def _has_written(monitor: Monitor) -> bool:
    devices = await monitor.execute("query-blockstats")
    return any(device.get("stats", {}).get("wr_operations", 0) for device in devices)
