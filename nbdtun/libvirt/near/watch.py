"""
Watches libvirt's migration: its progress, its limits, and whether it lasts too long.

libvirt tells no phases. The disks are copied from the first block job on, and the memory once the first byte of it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from nbdtun.errors import NbdtunError
from nbdtun.libvirt.near.job import Job, Seen
from nbdtun.logs import make_logger
from nbdtun.migration.progress import Measures, Phase
from nbdtun.migration.settings import MigrationSettings, Strategy
from nbdtun.migration.supervision.budget import lesser
from nbdtun.migration.supervision.convergence import FIRST_PASSES, PATIENCE_SECONDS
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.supervision.sampler import POLL_SECONDS
from nbdtun.migration.supervision.watchdog import Watchdog
from nbdtun.migration.vm.memory import Migrated
from nbdtun.units import duration_text


class Limits:
    """``bandwidth`` in bytes per second, None for no limit, and ``downtime`` in seconds; both may be changed while ``job`` runs."""

    def __init__(self, job: Job, bandwidth: int | None, downtime: float) -> None:
        self.bandwidth = bandwidth
        self.downtime = downtime
        self._ceiling: int | None = None
        self._job = job

    def __repr__(self) -> str:
        return f"<Limits of {self.bandwidth or 'any number of'} bytes/s, {self.downtime:g} s>"

    async def apply(self) -> None:
        """
        Tell libvirt; it heeds them once the memory is being sent.

        :raise NbdtunError: it refused.
        """
        await self._job.limit(lesser(self.bandwidth, self._ceiling), self.downtime)

    async def set_bandwidth(self, bandwidth: int | None) -> None:
        """Change the bandwidth of the memory; the disks keep theirs (:exc:`NbdtunError` if libvirt refuses)."""
        self.bandwidth = bandwidth
        await self.apply()

    async def set_ceiling(self, ceiling: int | None) -> None:
        """Change what others leave to the memory (:exc:`NbdtunError` if libvirt refuses)."""
        self._ceiling = ceiling
        await self.apply()

    async def set_downtime(self, seconds: float) -> None:
        """Change the downtime (:exc:`NbdtunError` if libvirt refuses)."""
        self.downtime = seconds
        await self.apply()


class Watch:
    """
    Looks at ``job`` every second, and feeds ``meter``. ``targets`` are the disks that are copied.

    ``stop`` is called with the error of a migration that lasts too long.
    """

    log = make_logger()

    def __init__(
        self, clock: Any, job: Job, settings: MigrationSettings, meter: Meter, limits: Limits, stop: Callable[[NbdtunError], object]
    ) -> None:
        self._clock = clock
        self._job = job
        self._settings = settings
        self._meter = meter
        self._limits = limits
        self._stop = stop
        self._targets: tuple[str, ...] = ()
        self._watchdog = Watchdog(settings.vm, settings.timeouts, clock.seconds())
        self._measures = Measures()
        self._step_at: float | None = None
        self._asking = False
        self.paused = False  #: it has paused the guest
        self._poll = LoopingCall(self._tick)
        self._poll.clock = clock

    def __repr__(self) -> str:
        return f"<Watch over {self._job!r} {'running' if self._poll.running else 'stopped'}>"

    def start(self) -> None:
        """Report each second from now on."""
        self._poll.start(POLL_SECONDS, now=False)

    def follow(self, targets: tuple[str, ...]) -> None:
        """The job has begun, with these disks."""
        self._targets = targets
        blocking = targets if Strategy.WRITE_BLOCKING in self._settings.converge else ()
        self._measures = Measures(write_blocking=blocking)
        self._meter.converge(self._measures)
        self._meter.enter(Phase.MIRROR)

    def stop(self) -> None:
        """Look no more."""
        if self._poll.running:
            self._poll.stop()

    def taken_over(self, last: Seen | None = None) -> None:
        """All has been sent, perhaps between two looks, and the destination takes over: no limit applies any more."""
        self._meter.copied()
        if self._meter.now.phase is not Phase.RAM:
            self._meter.enter(Phase.RAM)
        self._tell(last)
        self._meter.enter(Phase.FINISH)

    def arrived(self, last: Seen) -> None:
        """It has all arrived."""
        self.stop()
        if self._meter.now.phase.handed_over:
            self._tell(last)
        else:
            self.taken_over(last)

    def _tell(self, last: Seen | None) -> None:
        if last is not None and last.in_memory:
            self._meter.memory(Migrated(sent=last.sent))

    def _tick(self) -> None:
        if self._asking:
            self._judge()
            return
        self._asking = True
        Deferred.fromCoroutine(self._sample()).addErrback(lambda failure: self.log.failure("a sample failed", failure=failure))

    async def _sample(self) -> None:
        try:
            if self._meter.now.phase in (Phase.MIRROR, Phase.RAM):
                await self._take(await self._job.look(self._targets))
        finally:
            self._asking = False
        self._judge()

    async def _take(self, seen: Seen) -> None:
        """Report what was seen; an empty look, before the job and after it, changes nothing."""
        if not self._poll.running or self._meter.now.phase.handed_over:
            return
        self._meter.jobs({"device": target, "offset": done, "len": total} for target, (done, total) in seen.disks.items())
        if not seen.in_memory:
            return
        if self._meter.now.phase is Phase.MIRROR:
            self._meter.copied()
            self._meter.enter(Phase.RAM)
            await self._apply()
        self._meter.memory(Migrated(sent=seen.sent, left=seen.left))
        self._measures = evolve(self._measures, passes=seen.passes, throttle=seen.throttle)
        await self._converge(seen)

    async def _apply(self) -> None:
        try:
            await self._limits.apply()
        except NbdtunError as error:
            self.log.warn("{vm}: libvirt does not take its limits: {reason}", vm=self._settings.vm, reason=error.line)

    async def _converge(self, seen: Seen) -> None:
        """Raise the downtime in steps, if that was asked for, and passes over the memory do not help."""
        now, bound = self._clock.seconds(), self._settings.max_downtime
        if Strategy.DOWNTIME not in self._settings.converge or seen.passes <= FIRST_PASSES:
            return
        if self._step_at is None:
            self._step_at = now + PATIENCE_SECONDS
        elif now >= self._step_at and self._limits.downtime < bound:
            self._step_at = now + PATIENCE_SECONDS
            self._limits.downtime = min(2 * self._limits.downtime, bound)
            await self._apply()
            self._measures = evolve(self._measures, downtime=self._limits.downtime)
            self.log.info("{vm}: QEMU may now pause the guest for {time}", vm=self._settings.vm, time=duration_text(self._limits.downtime))

    async def _pause(self) -> None:
        try:
            await self._job.pause()
        except NbdtunError as error:
            self._stop(error)

    def _judge(self) -> None:
        if not self._poll.running:
            return
        self._meter.converge(self._measures)
        self._meter.sample()
        if self._meter.now.phase.handed_over:
            return
        verdict = self._watchdog.check(self._clock.seconds(), self._meter.now, self._meter.moved)
        if verdict is not None and verdict.forced:
            self.log.warn("{why}; the guest is paused until the migration ends", why=str(verdict.error))
            self._measures, self.paused = evolve(self._measures, forced=True), True
            Deferred.fromCoroutine(self._pause())
        elif verdict is not None:
            self._stop(verdict.error)
