"""
The unknown outcome of a migration: only the destination can find out whether the VM has run there.

The answer also ends the migration: a QEMU that has received the VM, but not the command to run it, is ended, so that it never runs.
"""

from __future__ import annotations

from nbdtun.errors import DestinationFailed, MonitorError
from nbdtun.migration.bond import Claim
from nbdtun.migration.control.commands import Outcome
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.recovery import clean_up, end, read_ours
from nbdtun.migration.qmp.dial import is_served
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.fate import ENDED, FALLEN, fallen
from nbdtun.migration.vm.machine import run_state
from nbdtun.migration.vm.memory import query_migration

#: Run states of a machine whose guest waits for ``cont``, for the first time or again. One that is ``postmigrate`` has moved on from here.
WAITING = frozenset({"inmigrate", "prelaunch", "paused"})

OTHERS = "its QEMU has the session of another source"


async def find_outcome(
    monitor: Monitor, claim: Claim | None = None, *, known: bool = True, remembered: State | None = None, arrived: bool = False
) -> tuple[Outcome, str]:
    """
    Connect ``monitor``, and :func:`settle`; with the reason if the guest is lost. A session in its journal must be that of ``claim``; of
    one that is not ``known`` to its source, the name. If its QEMU has ended, ``remembered`` counts: the state in which its session has
    ended.

    :raise DestinationFailed: it is another source's.
    :raise MonitorError: as of :func:`settle`.
    """
    try:
        await monitor.connect()
        await _refuse_others(monitor, claim or Claim(), known=known)
        why = await fallen(monitor)  # first: the next may end it
        return await settle(monitor, known=known, arrived=arrived), why
    except MonitorError:
        if remembered not in (State.FINISHED, State.ABORTED) or is_served(monitor.path):
            raise
        return (Outcome.LOST, ENDED) if remembered is State.FINISHED else (Outcome.GONE, "")
    finally:
        await monitor.close()


async def _refuse_others(monitor: Monitor, claim: Claim, *, known: bool) -> None:
    left = await read_ours(monitor)
    if left is not None and not (left.bond.admits(claim) if known else left.bond.is_of(claim)):
        raise DestinationFailed(f"{monitor.name}: {OTHERS}")


async def find_loss(monitor: Monitor) -> str:
    """Connect ``monitor``, of a VM that has arrived; returns why its guest is lost, empty if it is not, or may not be."""
    try:
        await monitor.connect()
        fresh = await run_state(monitor) == "inmigrate"
        return f"{ENDED}, and another one waits for a migration" if fresh else await fallen(monitor)
    except MonitorError:
        return "" if is_served(monitor.path) else ENDED  # one that lives may serve another client
    finally:
        await monitor.close()


async def settle(monitor: Monitor, *, known: bool = False, arrived: bool = False) -> Outcome:
    """
    At the destination: find out whether the VM has run there; if not, and its memory is there, end its QEMU so that it never will.

    Its daemon may have been restarted since, and know only the journal: a VM that was taken over in order to be paused has arrived, one
    that was not taken over has not. A session that is ``known`` to its source had a journal here. That is removed once it has arrived, or
    with its QEMU. So a paused guest that is here without one has arrived, and was paused since. Otherwise a paused guest has run if its
    devices have written: those statistics are not part of a migration, and a mirror's writes do not count for the guest's device.

    ``arrived``: here, the VM has arrived by a session of another source. Its guest may be paused, and is not this one's to end.

    :raise MonitorError: QEMU does not answer; it may have ended, or not.
    :raise NotMigratable: a migration of this VM to another host has not ended.
    :raise DestinationFailed: it is the other source's guest.
    """
    state = await run_state(monitor)
    if state == "inmigrate" and (await query_migration(monitor)).status == "none":
        await clean_up(monitor)
        return Outcome.FRESH  # it can still be used
    if state in FALLEN:  # after it had arrived
        await clean_up(monitor)
        return Outcome.LOST
    if state not in WAITING or await _was_taken_over(monitor, known=known and not arrived and state == "paused"):
        await clean_up(monitor)
        return Outcome.ARRIVED
    if arrived:
        raise DestinationFailed(f"{monitor.name}: {OTHERS}")
    await end(monitor)
    return Outcome.GONE


async def _was_taken_over(monitor: Monitor, *, known: bool) -> bool:
    written_down = await read_ours(monitor)
    if written_down is None and known and (await query_migration(monitor)).status == "completed":
        return True
    if written_down is not None and not (written_down.handed_over and written_down.runs):
        return written_down.handed_over
    return await _has_written(monitor)


async def _has_written(monitor: Monitor) -> bool:
    devices = await monitor.execute("query-blockstats")
    return any(device.get("stats", {}).get("wr_operations", 0) for device in devices)
