"""
The end of a migration that was killed, and of nothing else: the VM ends up in one place, and no new migration is begun.

It is what the next migration does first. Unlike :mod:`.resolve`, it asserts nothing: a fresh QEMU at the destination does not prove that
the VM has not run there.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time

from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import MigrationError
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.outcome import truthfully
from nbdtun.migration.source.recovery import Recovery, undecided
from nbdtun.migration.vm.guest import Guest


class Rescue:
    """Ends what a killed migration of the VM behind ``monitor`` has left, which is connected. ``checklist`` may have findings."""

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
        self._recovery = Recovery(reactor, monitor, carrier, settings, uptime)
        self._began = reactor.seconds()
        self.checklist = Checklist()

    def __repr__(self) -> str:
        return f"<Rescue of {self._settings.vm}>"

    async def run(self) -> Progress:
        """
        Roll back or complete it; returns when the VM is at the destination, and the source's QEMU has ended (or is kept paused).

        :raise MigrationError: the VM is at the source, as it was before.
        :raise OutcomeUnknown: it was handed over, and it is unknown whether it runs there; the source stays paused.
        """
        self.checklist.raise_failures(self._settings.vm)
        return await truthfully(self._monitor, self._run())

    async def _run(self) -> Progress:
        self._progress(Phase.PREPARE)
        if not await self._recovery.run():
            raise MigrationError(f"{self._settings.vm} is at the source, as it was before; nothing is left of a killed migration")
        if not self._settings.keep_source:
            with undecided(self._settings.vm):
                await Guest(self._monitor).end(self._reactor)
        return self._progress(Phase.COMPLETED)

    def _progress(self, phase: Phase) -> Progress:
        progress = Progress(time=time(), elapsed=self._reactor.seconds() - self._began, phase=phase, link=self._carrier.link)
        self._report(progress)
        return progress
