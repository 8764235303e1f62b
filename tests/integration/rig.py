"""Two QEMUs, the migration's own objects, and the shortest way between: for what goes wrong without the tunnel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from lab.disks import MIB
from lab.pair import Pair
from lab.qemu import Qemu
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings, StepTimeouts
from nbdtun.migration.source.migration import Migration
from tests.migration.stage.direct import Tunnel

SLOW = 16 * MIB  # bytes a second: a mirror lasts for long enough to be met on its way
BRISK = 48 * MIB  # the same, for those that go on to the end


class Rig:
    """A pair of QEMUs, a tunnel and a destination; ``reports`` is what the last migration told."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.source, self.destination = pair.source, pair.destination
        self.tunnel = Tunnel(reactor, pair.directory)
        self.steps = StepTimeouts(settle=3, undo=10)
        self.restart_daemon()
        self.reports: list[Progress] = []
        self.ended = ExitStack()

    def restart_daemon(self) -> None:
        vms = {"web1": str(self.pair.directory / "dst.qmp")}
        self.daemon = Sessions(reactor, vms, self.tunnel.egress, self.steps)
        self.tunnel.serve = partial(DestinationControl, self.daemon)

    def start(self, **options: Any) -> Deferred[Progress]:
        self.reports.clear()
        self.entered: set[Phase] = set()
        self.phases: dict[Phase, Deferred[None]] = {phase: Deferred() for phase in Phase}
        wanted: dict[str, Any] = {"vm": "web1", "steps": self.steps, "settle": 0.2} | options
        self.running = Deferred.fromCoroutine(self._run(MigrationSettings(**wanted)))
        return self.running

    async def breaks(
        self, phase: Phase, what: Callable[[], object], error: type[BaseException], match: str | None = None, bandwidth: int = SLOW
    ) -> None:
        """Begin one, and break something as soon as it is in ``phase``: it ends with that error."""
        running = self.start(bandwidth=bandwidth)
        await self.phases[phase]
        what()
        with pytest.raises(error, match=match):
            await running

    def cancel(self) -> None:
        """Cancel the one that runs."""
        self.running.cancel()

    async def again(self) -> None:
        """What has failed before can be done now."""
        await self.start()
        await self.moved()

    async def _run(self, settings: MigrationSettings) -> Progress:
        monitor = Monitor(reactor, str(self.source.qmp_path), settings.vm)
        await monitor.connect()
        self.migration = Migration(reactor, monitor, self.tunnel, settings, self._report)
        try:
            return await self.migration.run()
        finally:
            await monitor.close()

    def _report(self, progress: Progress) -> None:
        self.reports.append(progress)
        if progress.phase not in self.entered:  # and not whether it was called: a second report may come before the reactor's next turn
            self.entered.add(progress.phase)
            reactor.callLater(0, self.phases[progress.phase].callback, None)

    async def renew(self) -> None:
        """A destination QEMU that has tried to receive its memory is of no more use."""
        await deferToThread(self.destination.wait_exit, 20)
        old = self.destination
        fresh = Qemu("dst", self.pair.directory, self.pair.guest, old.drives, build=old.build, incoming=True)
        self.destination = self.pair.destination = self.ended.enter_context(fresh)

    async def moved(self) -> None:
        """It runs at the destination, whole, and nothing of ours is left."""
        await deferToThread(self.destination.wait_ticks, 3)
        await self.cleared()
        assert not self.pair.both_running()
        assert self.pair.faults() == []
        assert not self.tunnel.ingresses
        assert not self.tunnel.admitted
        assert self.reports[-1].phase is Phase.COMPLETED

    async def cleared(self) -> None:
        """Nothing of ours is left at the destination."""
        for session in self.daemon.register._known.values():
            await session.cleaned_up
        assert await deferToThread(self.destination.leftovers) == []

    async def untouched(self, phase: Phase = Phase.FAILED) -> None:
        """It runs on at the source, and nothing of ours is left there."""
        assert await deferToThread(self.pair.disturbance) == []
        assert not self.tunnel.ingresses
        assert self.reports[-1].phase is phase


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)
