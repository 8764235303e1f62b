"""
The migration's instruments: what QEMU says about its progress goes in, :class:`~nbdtun.migration.progress.Progress` comes out.

The rate is what really crossed (bytes copied by the mirrors, bytes sent by the migration), smoothed over some seconds; the rest
divided by it is the time to go. Both totals grow while the guest writes, so the time to go is honest and not monotonic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import Any

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from nbdtun.migration.progress import DiskProgress, LinkState, Measures, MemoryProgress, Phase, Progress
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.memory import Migrated
from nbdtun.rate import Rate


class Meter:
    """
    Collects, and reports to ``report`` each time something is new.

    ``clock`` measures intervals, ``wall`` tells the time of day in seconds since the epoch.
    """

    def __init__(
        self, clock: IReactorTime, report: Callable[[Progress], None], link: Callable[[], LinkState], wall: Callable[[], float] = time
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._report = report
        self._link = link
        self._start = clock.seconds()
        self._rate = Rate()
        self._nodes: dict[str, str] = {}
        self.now = Progress(wall(), 0.0, Phase.PREPARE)

    def __repr__(self) -> str:
        return f"<Meter {self.now.phase.value} {self._rate!r}>"

    def expect(self, disks: Mapping[str, Disk]) -> None:
        """These disks will be copied, by jobs of these names."""
        self._nodes = {job: disk.nickname for job, disk in disks.items()}
        self._change(disks=tuple(DiskProgress(disk.nickname, disk.size, 0) for disk in disks.values()))

    def enter(self, phase: Phase) -> None:
        """The next phase begins."""
        self._change(phase=phase)
        self._tell()

    def copied(self) -> None:
        """All disks are the same at both ends."""
        self._change(disks=tuple(evolve(disk, done=disk.total) for disk in self.now.disks))

    def jobs(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """The answer of ``query-block-jobs``; a disk whose job is gone or has not begun keeps what it had."""
        seen = {self._nodes[job["device"]]: job for job in jobs if job["device"] in self._nodes}
        self._change(disks=tuple(_moved(disk, seen[disk.node]) if disk.node in seen else disk for disk in self.now.disks))

    def memory(self, now: Migrated) -> None:
        """What ``query-migrate`` said."""
        self._change(ram=MemoryProgress(now.sent + now.left, now.sent))

    def converge(self, measures: Measures) -> None:
        """What is done so that it comes to its end."""
        self._change(converge=measures)

    @property
    def moved(self) -> int:
        """All bytes that have been copied; only grows."""
        return sum(disk.done for disk in self.now.disks) + self.now.ram.done

    def sample(self) -> None:
        """All has been read once: reckon the rate and report."""
        done = self.moved
        left = sum(disk.total for disk in self.now.disks) + self.now.ram.total - done
        rate = self._rate.sample(self._clock.seconds(), done) or 0.0
        self._change(rate=rate, eta=left / rate if rate > 0 else None)
        self._tell()

    def finish(self, phase: Phase, downtime: float | None = None, error: str | None = None, code: str | None = None) -> Progress:
        """It is over; ``downtime`` in seconds."""
        elapsed = self._clock.seconds() - self._start
        done = self.moved
        milliseconds = None if downtime is None else round(downtime * 1000, 1)
        rate = done / elapsed if elapsed > 0 else 0.0
        self._change(phase=phase, downtime_ms=milliseconds, error=error, code=code, eta=None, rate=rate)
        self._tell()
        return self.now

    def _change(self, **changes: Any) -> None:
        self.now = evolve(self.now, **changes)

    def _tell(self) -> None:
        self._change(time=self._wall(), elapsed=self._clock.seconds() - self._start, link=self._link())
        self._report(self.now)


def _moved(disk: DiskProgress, job: Mapping[str, Any]) -> DiskProgress:
    return evolve(disk, total=job["len"] or disk.total, done=job["offset"])
