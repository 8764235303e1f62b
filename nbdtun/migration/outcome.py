"""
What became of a VM that was handed over: the question, at the source, and the answer, at the destination, which alone can look.

The answer is an end as well: a QEMU that has received the VM and was not told to run it is ended, so that it never will be.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.deferreds import in_time
from nbdtun.errors import LinkLost, MonitorError, NbdtunError, OutcomeUnknown
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.commands import Settle
from nbdtun.migration.control import Control
from nbdtun.migration.journal import read
from nbdtun.migration.machine import run_state
from nbdtun.migration.memory import look
from nbdtun.migration.monitor import Monitor
from nbdtun.migration.remains import clear
from nbdtun.migration.settings import MigrationSettings

#: What :class:`~nbdtun.migration.commands.Settle` answers; FRESH: QEMU there has received nothing, but it may not be the one that should.
ARRIVED, GONE, FRESH = "arrived", "gone", "fresh"

#: Run states of a machine whose guest waits to be told to run, for the first time or again.
WAITING = frozenset({"inmigrate", "prelaunch", "paused", "postmigrate"})


async def settle(monitor: Monitor) -> str:
    """
    At the destination: find out whether the VM has run there; if not, and its memory is there, end its QEMU so that it never will.

    Its daemon may have been started again since and know nothing but what the journal tells: one that was taken over in order to be
    paused has arrived, one that was not taken over has not. Else a guest that is paused has run if its devices have written: those
    statistics are not part of a migration, and a mirror's writes do not count for the guest's device.

    :raise MonitorError: QEMU cannot be asked; it may have ended, or not.
    """
    state = await run_state(monitor)
    if state == "inmigrate" and (await look(monitor)).status == "none":
        await clear(monitor)
        return FRESH  # it can be of use yet
    if state not in WAITING or await _was_taken_over(monitor):
        await clear(monitor)
        return ARRIVED
    with suppress(MonitorError):  # it may go so fast that there is no answer
        await monitor.execute("quit")
    return GONE


async def _was_taken_over(monitor: Monitor) -> bool:
    written_down = await read(monitor)
    if written_down is not None and not (written_down.handed_over and written_down.runs):
        return written_down.handed_over
    return await _has_written(monitor)


async def _has_written(monitor: Monitor) -> bool:
    devices = await monitor.execute("query-blockstats")
    return any(device.get("stats", {}).get("wr_operations", 0) for device in devices)


async def ask(reactor: Any, carrier: Carrier, settings: MigrationSettings, session: str | None) -> str:
    """
    At the source: let the destination make an end of ``session`` (None: of whatever it has of the VM), and return how it ended.

    :raise OutcomeUnknown: it cannot.
    """
    seconds = settings.limits.answer
    late = f"the destination has not answered for {seconds:g} s"
    asking = Deferred.fromCoroutine(_settle_there(carrier, settings.vm, session))
    try:
        return await in_time(reactor, seconds, asking, lambda: LinkLost(late))
    except NbdtunError as error:
        raise OutcomeUnknown(
            f"{settings.vm}: it still cannot be learned whether it runs at the destination ({error}). The source is left paused. If it "
            f"runs there, quit the source; if its QEMU there has ended, `cont` the source"
        ) from error


async def _settle_there(carrier: Carrier, vm: str, session: str | None) -> str:
    control = await carrier.control(Control())
    try:
        answer = await control.ask(Settle, vm=vm, session=session)
        return str(answer["outcome"])
    finally:
        control.hang_up()
