"""
Samples a migration every second: its progress, whether it converges, and whether it lasts too long.

Its queries to QEMU have a time limit, so they also notice a QEMU that hangs. The watchdog does not wait for them: while QEMU answers
nothing, time passes all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from nbdtun.migration.progress import Phase
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.supervision.supervision import Supervision
from nbdtun.migration.supervision.watchdog import Verdict
from nbdtun.migration.vm.memory import query_migration
from nbdtun.migration.vm.mirror import written_up_to

POLL_SECONDS = 1.0


class Sampler:
    """
    Feeds ``supervision`` with QEMU's answers, each waited for at most ``seconds``.

    ``alarm`` is called with the error of a failed sample, ``judge`` with the watchdog's verdict.
    """

    def __init__(
        self,
        clock: Any,
        monitor: Monitor,
        supervision: Supervision,
        seconds: float,
        alarm: Callable[[Exception], None],
        judge: Callable[[Verdict], None],
    ) -> None:
        self._clock = clock
        self._monitor = monitor
        self._meter = supervision.meter
        self._convergence = supervision.convergence
        self._watchdog = supervision.watchdog
        self._seconds = seconds
        self._alarm = alarm
        self._judge = judge
        self._written = 0
        self._asking = False
        self._phase = Phase.PREPARE
        self._poll = LoopingCall(self._tick)
        self._poll.clock = clock

    def __repr__(self) -> str:
        return f"<Sampler {'running' if self._poll.running else 'stopped'}>"

    def start(self) -> None:
        """Take the first sample a second from now."""
        self._poll.start(POLL_SECONDS, now=False)

    def stop(self) -> None:
        """Stop sampling."""
        if self._poll.running:
            self._poll.stop()

    def _tick(self) -> None:
        if self._asking or self._hurries():
            self._look()
            return
        self._asking = True
        Deferred.fromCoroutine(self._sample()).addErrback(self._failed)

    def _hurries(self) -> bool:
        """Whether the guest has just come to stand still: QEMU is asked nothing then that can wait for a second."""
        before, self._phase = self._phase, self._meter.now.phase
        return self._phase is Phase.SWITCHOVER and before is not Phase.SWITCHOVER

    def _failed(self, failure: Failure) -> None:
        assert isinstance(failure.value, Exception)
        self._alarm(failure.value)

    async def _sample(self) -> None:
        try:
            await self._sample_disks()
            await self._sample_memory()
        finally:
            self._asking = False
        self._look()

    def _look(self) -> None:
        """Report what is known, and let the watchdog judge it."""
        if not self._poll.running:
            return
        self._meter.converge(self._convergence.measures)
        self._meter.sample()
        verdict = self._watchdog.check(self._clock.seconds(), self._meter.now, self._meter.moved + self._written)
        if verdict is not None:
            self._judge(verdict)

    async def _sample_disks(self) -> None:
        """Nothing is sampled before and after the copying: only the link's state is reported then."""
        if self._meter.now.phase is Phase.PREPARE or self._meter.now.phase.handed_over:
            return
        self._meter.jobs(await self._monitor.execute("query-block-jobs", seconds=self._seconds))
        if any(not disk.done for disk in self._meter.now.disks):
            self._written = await written_up_to(self._monitor, self._seconds)
        await self._convergence.disks(self._clock.seconds(), self._meter.now)

    async def _sample_memory(self) -> None:
        if self._meter.now.phase not in (Phase.RAM, Phase.HOLDING, Phase.SWITCHOVER):
            return
        seen = await query_migration(self._monitor, self._seconds)
        if seen.status == "none":
            return  # the memory is held as well
        self._meter.memory(seen)
        if self._meter.now.phase is Phase.RAM:
            await self._convergence.memory(self._clock.seconds(), seen)
