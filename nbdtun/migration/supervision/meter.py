"""
The migration's meter: QEMU's answers about its progress go in, :class:`~nbdtun.migration.progress.Progress` comes out.

The rate counts the bytes that were copied, smoothed over some seconds; the rest of disks and memory, divided by it, is the time left. Both
totals grow while the guest writes, so the time left is honest and not monotonic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import Any

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import NbdtunError
from nbdtun.migration.progress import DiskProgress, GuestState, LinkState, Measures, MemoryProgress, Pause, Phase, Progress
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.memory import Migrated
from nbdtun.rate import Rate

#: The phases in which there is something left to copy.
_COPYING = (Phase.MIRROR, Phase.READY, Phase.RAM)


class Meter:
    """
    Collects samples, and calls ``report`` at each change.

    ``clock`` measures intervals, ``wall`` returns the time of day in seconds since the epoch; ``link`` and ``guest`` tell their states.
    """

    def __init__(
        self,
        clock: IReactorTime,
        report: Callable[[Progress], None],
        link: Callable[[], LinkState],
        wall: Callable[[], float] = time,
        guest: Callable[[], GuestState] = lambda: GuestState.UNKNOWN,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._report = report
        self._link = link
        self._guest = guest
        self._start = clock.seconds()
        self._end: float | None = None
        self._rate = Rate()
        self._nodes: dict[str, str] = {}
        self.now = Progress(wall(), 0.0, Phase.PREPARE)

    def __repr__(self) -> str:
        return f"<Meter {self.now.phase.value} {self._rate!r}>"

    def expect(self, disks: Mapping[str, Disk]) -> None:
        """Set the disks that will be copied, by the names of their jobs."""
        self._nodes = {job: disk.nickname for job, disk in disks.items()}
        self._change(disks=tuple(DiskProgress(disk.nickname, disk.size, 0) for disk in disks.values()))

    def expect_memory(self, size: int) -> None:
        """Set the size of the memory in bytes, of which QEMU will find some that need not be sent."""
        self._change(ram=MemoryProgress(size))

    def enter(self, phase: Phase) -> None:
        """Begin the next phase."""
        self._change(phase=phase, **({} if phase in _COPYING else {"rate": None, "eta": None}))
        self._report_now()

    def hold(self, until: float | None) -> None:
        """It is held, ``until`` a time in seconds since the epoch or, with None, its operator's word."""
        self._change(switchover_at=until)
        self.enter(Phase.HOLDING)

    def paused(self, pause: Pause | None) -> float | None:
        """Take the parts of the downtime; returns that, in seconds."""
        self._change(pause=pause)
        return None if pause is None else pause.seconds

    def arrived(self, downtime: float | None) -> None:
        """The VM runs at the destination, after a ``downtime`` in seconds: its times count up to now."""
        self._end = self._clock.seconds()
        self._change(downtime_ms=_milliseconds(downtime), eta=None)
        self.enter(Phase.SETTLE)

    def copied(self) -> None:
        """Mark all disks as copied."""
        self._change(disks=tuple(evolve(disk, done=disk.total) for disk in self.now.disks))

    def jobs(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Take the answer of ``query-block-jobs``; a disk whose job is gone or has not begun keeps its values."""
        seen = {self._nodes[job["device"]]: job for job in jobs if job["device"] in self._nodes}
        self._change(disks=tuple(_moved(disk, seen[disk.node]) if disk.node in seen else disk for disk in self.now.disks))

    def memory(self, now: Migrated) -> None:
        """Take an answer of ``query-migrate``."""
        self._change(ram=MemoryProgress(now.sent + now.left, now.sent))

    def converge(self, measures: Measures) -> None:
        """Take the measures that are in force."""
        self._change(converge=measures)

    @property
    def moved(self) -> int:
        """The number of bytes copied so far; it only grows."""
        return sum(disk.done for disk in self.now.disks) + self.now.ram.done

    def sample(self) -> None:
        """A sample is complete: compute the rate, which there is none of while the link is not up, and report."""
        self._change(link=self._link())
        done = self.moved
        if not self.now.link.up:
            self._rate = Rate()
        moves = self.now.link.up and self.now.phase is not Phase.HOLDING
        rate = self._rate.sample(self._clock.seconds(), done) if moves else None
        left = sum(disk.total for disk in self.now.disks) + self.now.ram.total - done
        self._change(rate=rate, eta=left / rate if rate and self.now.phase in _COPYING else None)
        self._report_now()

    def finish(self, phase: Phase, downtime: float | None = None, error: NbdtunError | str | None = None) -> Progress:
        """End in ``phase``; ``downtime`` is in seconds. An ``error`` that is a text alone has no code."""
        code, remedy = (error.code, error.remedy or None) if isinstance(error, NbdtunError) else (None, None)
        text = None if error is None else str(error)
        rate = self.moved / self._elapsed if self._elapsed > 0 else 0.0
        self._change(phase=phase, downtime_ms=_milliseconds(downtime), error=text, code=code, remedy=remedy, eta=None, rate=rate)
        self._report_now()
        return self.now

    def _change(self, **changes: Any) -> None:
        self.now = evolve(self.now, **changes)

    def _report_now(self) -> None:
        self._change(time=self._wall(), elapsed=self._elapsed, link=self._link(), guest=self._guest())
        self._report(self.now)

    @property
    def _elapsed(self) -> float:
        return (self._clock.seconds() if self._end is None else self._end) - self._start


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _moved(disk: DiskProgress, job: Mapping[str, Any]) -> DiskProgress:
    return evolve(disk, total=job["len"] or disk.total, done=job["offset"])
