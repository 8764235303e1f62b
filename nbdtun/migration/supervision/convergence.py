"""
Helps a migration converge while the guest changes disks or memory faster than they can be copied.

Each strategy is applied when it is needed, and costs the guest something:

- *write-blocking*: the guest's writes wait until they are at the destination too, which slows its disks to the link's speed. With
  ``block-job-change`` (QEMU 8.2) this begins when a mirror is ready, or once its remainder no longer shrinks; without it, the mirrors
  start in this mode.
- *auto-converge*: QEMU takes time from the guest's processors, a little more with each pass over the memory.
- *downtime*: QEMU aims at a longer pause, in steps.

QEMU facts: ``block-job-change`` turns ``background`` into ``write-blocking`` whether or not the mirror is ready, and not back again.
``dirty-sync-count`` is 1 in the first pass over the memory. ``cpu-throttle-percentage`` exists only while it is in force.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve

from nbdtun.logs import make_logger
from nbdtun.migration.progress import Measures, Phase, Progress
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings, Strategy
from nbdtun.migration.supervision.budget import Budget
from nbdtun.migration.vm.memory import Migrated
from nbdtun.migration.vm.mirror import Mirror, Mirrors, can_change_mode
from nbdtun.units import duration_text

#: How long a disk's remainder may not shrink, and how long each step of the downtime is tried.
PATIENCE_SECONDS: Final = 10.0

#: Passes over the memory before it may count as not converging: the first one copies all of it.
FIRST_PASSES: Final = 2


class Trend:
    """Whether the remainder of one disk shrinks while bytes of it are copied."""

    def __init__(self) -> None:
        self.lagging = False
        self._least: int | None = None
        self._done = 0
        self._since = 0.0

    def __repr__(self) -> str:
        return f"<Trend {'lagging' if self.lagging else 'converging'}, {self._least} left at best>"

    def update(self, now: float, done: int, left: int) -> bool:
        """Update it at ``now`` seconds; returns whether the disk lags."""
        if self._least is None or left < self._least:
            self._least, self._done, self._since = left, done, now
        self.lagging = done > self._done and now - self._since >= PATIENCE_SECONDS
        return self.lagging


class Convergence:
    """Applies the strategies of ``settings``; ``measures`` are those in force at present."""

    log = make_logger()

    def __init__(self, monitor: Monitor, settings: MigrationSettings, budget: Budget) -> None:
        self.measures = Measures()
        self._monitor = monitor
        self._vm = settings.vm
        self._strategies = settings.converge
        self._bound = settings.max_downtime
        self._budget = budget
        self._mirrors: Mirrors | None = None
        self._trends: dict[str, Trend] = {}
        self._told: set[str] = set()
        self._step_at: float | None = None

    def __repr__(self) -> str:
        return f"<Convergence by {', '.join(sorted(strategy.value for strategy in self._strategies)) or 'nothing'}: {self.measures}>"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The capabilities of QEMU's migration that it needs."""
        return ("auto-converge",) if Strategy.AUTO_CONVERGE in self._strategies else ()

    async def begin(self, mirrors: Mirrors) -> None:
        """To be called before ``mirrors`` start: if their mode cannot be changed later, set it now."""
        self._mirrors = mirrors
        self._trends = {mirror.disk.nickname: Trend() for mirror in mirrors}
        if Strategy.WRITE_BLOCKING in self._strategies and not await can_change_mode(self._monitor):
            for mirror in mirrors:
                mirror.write_blocking = True
            self._note_disks()

    async def keep(self) -> None:
        """The mirrors are ready: make sure that they stay so while the memory is sent."""
        self.measures = evolve(self.measures, lagging=())
        for mirror in self._mirrors or ():
            await self._block_writes(mirror)

    async def disks(self, now: float, progress: Progress) -> None:
        """Check the disks, at ``now`` seconds, while they are copied."""
        if progress.phase is not Phase.MIRROR or self._mirrors is None:
            return
        seen = {disk.node: disk for disk in progress.disks}
        lagging = []
        for mirror in self._mirrors:
            name = mirror.disk.nickname
            disk = seen[name]
            if not mirror.ready.called and self._trends[name].update(now, disk.done, disk.total - disk.done):
                lagging.append(name)
                await self._lags(mirror)
        self.measures = evolve(self.measures, lagging=tuple(lagging))

    async def _lags(self, mirror: Mirror) -> None:
        name = mirror.disk.nickname
        if name not in self._told and Strategy.WRITE_BLOCKING not in self._strategies:
            hint = "the guest writes faster than it is copied; --converge write-blocking would slow its writes down"
            self._told.add(name)
            self.log.warn("{vm}: disk {disk} is not converging: {hint}", vm=self._vm, disk=name, hint=hint)
        await self._block_writes(mirror)

    async def _block_writes(self, mirror: Mirror) -> None:
        if Strategy.WRITE_BLOCKING in self._strategies and not mirror.write_blocking:
            await mirror.block_writes()
            self._note_disks()
            self.log.info("{vm}: the guest's writes to disk {disk} now wait for the destination", vm=self._vm, disk=mirror.disk.nickname)

    def _note_disks(self) -> None:
        names = tuple(mirror.disk.nickname for mirror in self._mirrors or () if mirror.write_blocking)
        self.measures = evolve(self.measures, write_blocking=names)

    async def memory(self, now: float, seen: Migrated) -> None:
        """Check the memory, at ``now`` seconds, while it is sent."""
        self.measures = evolve(self.measures, passes=seen.passes, throttle=seen.throttle)
        if Strategy.DOWNTIME not in self._strategies or seen.passes <= FIRST_PASSES:
            return
        if self._step_at is None:
            self._step_at = now + PATIENCE_SECONDS
        elif now >= self._step_at and self._budget.downtime < self._bound:
            self._step_at = now + PATIENCE_SECONDS
            await self._raise_downtime()

    async def _raise_downtime(self) -> None:
        downtime = min(2 * self._budget.downtime, self._bound)
        await self._budget.set_downtime(downtime)
        self.measures = evolve(self.measures, downtime=downtime)
        self.log.info("{vm}: QEMU may now pause the guest for {time}", vm=self._vm, time=duration_text(downtime))

    def force(self) -> None:
        """The guest is paused: nothing grows any more."""
        self.measures = evolve(self.measures, forced=True)
