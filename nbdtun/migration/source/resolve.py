"""
The way out of an unknown outcome: the destination is asked again, and the VM ends up in one place.

A migration that loses its destination right after the handover leaves the source paused, because the VM may run there. Later, when the
destination can be asked again, there are two possible outcomes, and only the destination can find out which:

- the VM has arrived: the source's QEMU is ended;
- it has not run there and now never will, because the destination has ended its QEMU: the source goes on, if it ran before.

The journals in the QEMUs at both ends describe the migration. Until one outcome is certain the source stays paused, and this can be
tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time

from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import MigrationError, NotMigratable
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.control.commands import Outcome
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End, Entry
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.outcome import ask, truthfully
from nbdtun.migration.source.recovery import clean_up, find, roll_back, undecided
from nbdtun.migration.vm.guest import Guest
from nbdtun.migration.vm.machine import RUNNING, announce, run_state
from nbdtun.migration.vm.memory import query_migration


class Resolution:
    """Resolves the unknown outcome of a migration of the VM behind ``monitor``, which is connected. ``checklist`` may have findings."""

    def __init__(
        self,
        reactor: IReactorTime,
        monitor: Monitor,
        carrier: Carrier,
        settings: MigrationSettings,
        report: Callable[[Progress], None],
        uptime: Callable[[], float] = monotonic,
    ) -> None:
        self._reactor = reactor
        self._monitor = monitor
        self._carrier = carrier
        self._settings = settings
        self._report = report
        self._uptime = uptime
        self._began = reactor.seconds()
        self.checklist = Checklist()

    async def run(self) -> Progress:
        """
        Resolve it; returns when the VM is at the destination, and the source's QEMU has ended (or is kept paused, as the settings say).

        :raise NotMigratable: there is no unknown outcome.
        :raise OutcomeUnknown: it is still unknown; the source stays paused.
        :raise MigrationError: it did not arrive; it runs at the source again.
        """
        self.checklist.raise_failures(self._settings.vm)
        return await truthfully(self._monitor, self._run())

    async def _run(self) -> Progress:
        await self._check()
        self._progress(Phase.FINISH)
        left = await find(self._monitor, self._uptime())
        if left is not None and left.end is End.DESTINATION:
            raise NotMigratable(f"{self._settings.vm} has arrived here, and was not handed over since; there is nothing to resolve")
        session, secret = (left.session, bytes.fromhex(left.secret)) if left else (None, b"")
        with undecided(self._settings.vm):
            outcome = await ask(self._reactor, self._carrier, self._settings, session, secret=secret)
            if outcome is Outcome.ARRIVED:
                await self._leave(left)
        if outcome is not Outcome.ARRIVED:
            raise MigrationError(f"{self._settings.vm} did not arrive and never will; {await self._go_on(left)}")
        return self._progress(Phase.COMPLETED)

    async def _leave(self, left: Entry | None) -> None:
        if not self._settings.keep_source:
            await Guest(self._monitor).end(self._reactor)
        elif left is not None:
            await clean_up(self._reactor, self._monitor, left)

    async def _check(self) -> None:
        vm = self._settings.vm
        state = await run_state(self._monitor)
        if state in RUNNING:
            raise NotMigratable(f"{vm} is running at the source; there is nothing to resolve")
        if (await query_migration(self._monitor)).status != "completed":
            raise NotMigratable(f"{vm} is {state} at the source and was not handed over; there is nothing to resolve")

    async def _go_on(self, left: Entry | None) -> str:
        if left is None:
            await self._monitor.execute("cont")
            await announce(self._monitor)
        else:
            await roll_back(self._reactor, self._monitor, left)
        if await run_state(self._monitor) in RUNNING:
            return "it runs at the source again"
        return f"it is paused at the source, {'as it was before' if left and not left.runs else 'as somebody has paused it; `cont` it'}"

    def _progress(self, phase: Phase) -> Progress:
        progress = Progress(time=time(), elapsed=self._reactor.seconds() - self._began, phase=phase, link=self._carrier.link)
        self._report(progress)
        return progress
