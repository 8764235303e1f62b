"""What is made of libvirt's answers, second by second."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from nbdtun.errors import LibvirtError, NbdtunError, TimedOut
from nbdtun.libvirt.near.job import Seen
from nbdtun.libvirt.near.watch import Limits, Watch
from nbdtun.migration.progress import DiskProgress, LinkState, Phase, Progress
from nbdtun.migration.settings import MigrationSettings, Strategy
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.timeouts import OnTimeout, Timeouts
from nbdtun.migration.vm.disks import Disk

COPYING = Seen({"vda": (400, 1000)})
SENDING = Seen({"vda": (1000, 1000)}, sent=300, left=700, passes=1)


@define
class Job:
    """Libvirt's job, which is as ``seen``."""

    seen: Seen = field(factory=Seen)
    done: list[Any] = field(factory=list)
    refuses: bool = False

    async def look(self, targets: tuple[str, ...]) -> Seen:
        return self.seen

    async def limit(self, bandwidth: int | None, downtime: float) -> None:
        self.done.append((bandwidth, downtime))
        if self.refuses:
            raise LibvirtError("no")

    async def pause(self) -> None:
        self.done.append("pause")
        if self.refuses:
            raise LibvirtError("no")


class Watched:
    """A watch over one disk, and what it has told."""

    def __init__(self, job: Job | None = None, **more: Any) -> None:
        self.clock, self.job = Clock(), job or Job()
        self.reports: list[Progress] = []
        self.stopped: list[NbdtunError] = []
        meter = Meter(self.clock, self.reports.append, LinkState, lambda: 1e9)
        meter.expect({"vda": Disk("vda", "vda", "", 1000)})
        watched: Any = self.job
        settings = MigrationSettings(vm="web1", **more)
        self.limits = Limits(watched, settings.bandwidth, settings.downtime)
        self.watch = Watch(self.clock, watched, settings, meter, self.limits, self.stopped.append)
        self.watch.start()
        self.watch.follow(("vda",))

    def see(self, seen: Seen, seconds: int = 1) -> Progress:
        self.job.seen = seen
        self.clock.pump([1.0] * seconds)
        return self.reports[-1]


def test_the_disks_come_first_and_then_the_memory() -> None:
    watched = Watched()
    assert watched.see(Seen()).phase is Phase.MIRROR
    last = watched.see(COPYING)
    assert (last.phase, last.disks) == (Phase.MIRROR, (DiskProgress("vda", 1000, 400),))
    last = watched.see(SENDING)
    assert (last.phase, last.ram.done, last.ram.total) == (Phase.RAM, 300, 1000)


def test_a_look_that_sees_nothing_takes_nothing_back() -> None:
    watched = Watched()
    before = watched.see(SENDING)
    after = watched.see(Seen())
    assert (after.phase, after.ram, after.disks) == (before.phase, before.ram, before.disks)


def test_the_memory_has_its_limits_once_it_is_sent() -> None:
    watched = Watched(bandwidth=5 << 20, downtime=0.5)
    watched.see(COPYING)
    assert watched.job.done == []
    watched.see(SENDING, 3)
    assert watched.job.done == [(5 << 20, 0.5)]


def test_limits_that_libvirt_does_not_take_end_nothing() -> None:
    watched = Watched(Job(refuses=True))
    assert watched.see(SENDING, 2).phase is Phase.RAM
    assert watched.stopped == []


def test_a_longer_downtime_is_tried_in_steps() -> None:
    watched = Watched(downtime=0.3, max_downtime=1.0, converge=frozenset({Strategy.DOWNTIME}))
    last = watched.see(Seen({}, sent=900, left=100, passes=3), 40)
    assert [downtime for _, downtime in watched.job.done] == [0.3, 0.6, 1.0]
    assert last.converge.downtime == 1.0


def test_writes_that_wait_are_told_from_the_beginning() -> None:
    watched = Watched(converge=frozenset({Strategy.WRITE_BLOCKING}))
    assert watched.reports[-1].converge.write_blocking == ("vda",)


def test_what_lasts_too_long_is_stopped() -> None:
    watched = Watched(timeouts=Timeouts(total=3.0))
    watched.see(COPYING, 3)
    assert [type(error) for error in watched.stopped] == [TimedOut]


def test_or_its_guest_is_paused() -> None:
    watched = Watched(timeouts=Timeouts(total=3.0, on_timeout=OnTimeout.FORCE))
    assert watched.see(COPYING, 4).converge.forced
    assert (watched.job.done, watched.stopped, watched.watch.paused) == (["pause"], [], True)


def test_a_guest_that_cannot_be_paused_is_not_waited_for() -> None:
    watched = Watched(Job(refuses=True), timeouts=Timeouts(total=3.0, on_timeout=OnTimeout.FORCE))
    watched.see(COPYING, 4)
    assert [str(error) for error in watched.stopped] == ["no"]


def test_once_stopped_it_says_no_more() -> None:
    watched = Watched()
    watched.watch.stop()
    watched.watch.stop()
    count = len(watched.reports)
    watched.clock.pump([1.0] * 3)
    assert len(watched.reports) == count


def test_memory_that_was_sent_between_two_looks_is_told_at_the_end() -> None:
    watched = Watched()
    watched.see(COPYING)
    watched.watch.arrived(Seen({}, sent=900, passes=2))
    assert [report.phase for report in watched.reports[-2:]] == [Phase.RAM, Phase.FINISH]
    last = watched.reports[-1]
    assert (last.ram.done, last.ram.total, last.disks) == (900, 900, (DiskProgress("vda", 1000, 1000),))


def test_what_is_taken_over_has_no_limit_any_more() -> None:
    watched = Watched()
    watched.see(COPYING)
    watched.watch.taken_over()
    assert watched.reports[-1].phase is Phase.FINISH
    before = len(watched.reports)
    watched.see(COPYING)
    assert len(watched.reports) > before
    assert watched.reports[-1].phase is Phase.FINISH
    watched.watch.arrived(Seen({}, sent=900, passes=2))
    assert watched.reports[-1].phase is Phase.FINISH
