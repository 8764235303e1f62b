"""
The way out of an unknown outcome: the destination is asked again, and the VM ends up in one place.

A migration that loses its destination right after the handover leaves the source paused, because the VM may run there. Later, when the
destination can be asked again, there are two ways for it to go, and the destination decides which, because only it can look:

- the VM has arrived: the source's QEMU is ended;
- it has not run there and now never will, because the destination has ended its QEMU: the source goes on.

As long as neither is certain the source stays paused, and this can be tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.errors import LinkLost, MigrationError, MonitorError, NbdtunError, NotMigratable, OutcomeUnknown
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.commands import Control, Settle
from nbdtun.migration.guest import Guest
from nbdtun.migration.machine import RUNNING, run_state
from nbdtun.migration.memory import look
from nbdtun.migration.monitor import Monitor
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.waits import in_time

#: What :class:`~nbdtun.migration.commands.Settle` answers.
ARRIVED, GONE = "arrived", "gone"

#: Run states of a machine whose guest waits to be told to run, for the first time or again.
WAITING = frozenset({"inmigrate", "prelaunch", "paused", "postmigrate"})


async def settle(monitor: Monitor) -> str:
    """
    At the destination: find out whether the VM has run there; if not, and its memory is there, end its QEMU so that it never will.

    Its daemon may have been started again since and know nothing. A guest that is paused has run if its devices have written: those
    statistics are not part of a migration, and a mirror's writes do not count for the guest's device.

    :raise MonitorError: QEMU cannot be asked; it may have ended, or not.
    """
    state = await run_state(monitor)
    if state == "inmigrate" and (await look(monitor)).status == "none":
        return GONE  # a fresh QEMU, which has received nothing, can be of use yet
    if state not in WAITING or await _has_written(monitor):
        return ARRIVED
    with suppress(MonitorError):  # it may go so fast that there is no answer
        await monitor.execute("quit")
    return GONE


async def _has_written(monitor: Monitor) -> bool:
    devices = await monitor.execute("query-blockstats")
    return any(device.get("stats", {}).get("wr_operations", 0) for device in devices)


class Resolution:
    """Ends what a migration of the VM behind ``monitor`` has left open; ``monitor`` is connected already."""

    def __init__(
        self, reactor: Any, monitor: Monitor, carrier: Carrier, settings: MigrationSettings, report: Callable[[Progress], None]
    ) -> None:
        self._reactor = reactor
        self._monitor = monitor
        self._carrier = carrier
        self._settings = settings
        self._report = report
        self._began = reactor.seconds()

    async def run(self) -> Progress:
        """
        Resolve it; returns when the VM is the destination's, and the source's QEMU is ended (or kept paused, as the settings say).

        :raise NotMigratable: nothing is open.
        :raise OutcomeUnknown: it still cannot be told; the source is left paused.
        :raise MigrationError: it did not arrive; it runs at the source again.
        """
        await self._check()
        self._tell(Phase.FINISH)
        answer = await self._ask()
        if answer == GONE:
            await self._monitor.execute("cont")
            raise MigrationError(f"{self._settings.vm} did not arrive, and never will; it runs at the source again")
        if not self._settings.keep_source:
            await Guest(self._monitor).end(self._reactor)
        return self._tell(Phase.COMPLETED)

    async def _check(self) -> None:
        vm = self._settings.vm
        state = await run_state(self._monitor)
        if state in RUNNING:
            raise NotMigratable(f"{vm} runs at the source, there is nothing to resolve")
        if (await look(self._monitor)).status != "completed":
            raise NotMigratable(f"{vm} is {state} at the source and was not handed over, there is nothing to resolve")

    async def _ask(self) -> str:
        seconds = self._settings.limits.answer
        late = f"the destination has not answered for {seconds:g} s"
        asking = Deferred.fromCoroutine(self._settle())
        try:
            return await in_time(self._reactor, seconds, asking, lambda: LinkLost(late))
        except NbdtunError as error:
            vm = self._settings.vm
            raise OutcomeUnknown(
                f"{vm}: it still cannot be learned whether it runs at the destination ({error}). The source is left paused. If it runs "
                f"there, quit the source; if its QEMU there has ended, `cont` the source"
            ) from error

    async def _settle(self) -> str:
        control = await self._carrier.control(Control())
        try:
            answer = await control.ask(Settle, vm=self._settings.vm)
            return str(answer["outcome"])
        finally:
            if control.transport is not None:
                control.transport.loseConnection()

    def _tell(self, phase: Phase) -> Progress:
        progress = Progress(time=time(), elapsed=self._reactor.seconds() - self._began, phase=phase, link=self._carrier.link)
        self._report(progress)
        return progress
