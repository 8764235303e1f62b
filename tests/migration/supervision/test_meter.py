from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from nbdtun.errors import MirrorFailed
from nbdtun.migration.progress import DiskProgress, LinkState, MemoryProgress, Phase, Progress
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.memory import Migrated

VDA = Disk("#block1", "vda", "vda-dev", 1000)


def meter() -> tuple[Clock, Meter, list[Progress]]:
    clock, reports = Clock(), list[Progress]()
    one = Meter(clock, reports.append, lambda: LinkState(resumes=2), lambda: 1e9 + clock.seconds())
    one.expect({"job0": VDA, "job1": Disk("vdb", "", "vdb-dev", 500)})
    return clock, one, reports


def test_each_phase_is_reported_at_once() -> None:
    clock, one, reports = meter()
    one.enter(Phase.PREPARE)
    clock.advance(2)
    one.enter(Phase.MIRROR)
    assert [(report.phase, report.time, report.elapsed) for report in reports] == [(Phase.PREPARE, 1e9, 0), (Phase.MIRROR, 1e9 + 2, 2)]
    assert reports[-1].disks == (DiskProgress("vda", 1000, 0), DiskProgress("vdb", 500, 0))
    assert reports[-1].link.resumes == 2
    assert repr(one).startswith("<Meter mirror")


def test_jobs_move_the_disks_that_they_copy() -> None:
    _, one, _ = meter()
    one.jobs([{"device": "job1", "len": 600, "offset": 60}, {"device": "other", "len": 1, "offset": 1}])
    assert one.now.disks == (DiskProgress("vda", 1000, 0), DiskProgress("vdb", 600, 60))
    one.jobs([{"device": "job1", "len": 0, "offset": 0}])  # an empty image
    assert one.now.disks[1] == DiskProgress("vdb", 600, 0)
    one.copied()
    assert [disk.done for disk in one.now.disks] == [1000, 600]


def test_the_time_to_go_is_what_is_left_by_the_rate() -> None:
    clock, one, reports = meter()
    one.sample()
    assert (reports[-1].rate, reports[-1].eta) == (None, None)
    one.enter(Phase.MIRROR)
    clock.advance(1)
    one.jobs([{"device": "job0", "len": 1000, "offset": 100}])
    one.sample()
    assert (reports[-1].rate, reports[-1].eta) == (100, 14)
    clock.advance(1)
    one.memory(Migrated("active", sent=200, left=300))
    one.sample()
    assert reports[-1].ram == MemoryProgress(500, 200)
    assert reports[-1].rate is not None
    assert round(reports[-1].rate) == 118  # on the way from 100 to 200: one second, smoothed over five
    assert reports[-1].eta is not None
    assert round(reports[-1].eta, 3) == round((1500 + 500 - 300) / reports[-1].rate, 3)


def test_its_time_counts_up_to_its_arrival() -> None:
    clock, one, reports = meter()
    one.copied()
    clock.advance(10)
    one.arrived(0.0714)
    assert (reports[-1].phase, reports[-1].elapsed, reports[-1].downtime_ms) == (Phase.SETTLE, 10, 71.4)
    clock.advance(2)
    last = one.finish(Phase.COMPLETED, 0.0714)
    assert (last.elapsed, last.rate, last.downtime_ms) == (10, 150, 71.4)


def test_the_end_has_the_mean_rate_and_the_downtime() -> None:
    clock, one, reports = meter()
    one.copied()
    clock.advance(10)
    last = one.finish(Phase.COMPLETED, 0.0714)
    assert last is reports[-1]
    assert (last.rate, last.downtime_ms, last.eta) == (150, 71.4, None)
    failed = one.finish(Phase.FAILED, None, MirrorFailed("no", "mend it"))
    assert (failed.error, failed.code, failed.remedy, failed.downtime_ms) == ("no; mend it", "mirror", "mend it", None)
    cancelled = one.finish(Phase.CANCELLED, error="cancelled")
    assert (cancelled.error, cancelled.code, cancelled.remedy) == ("cancelled", None, None)


def test_the_time_left_is_of_disks_and_memory_together() -> None:
    clock, one, reports = meter()
    one.expect_memory(600)
    one.enter(Phase.MIRROR)
    one.sample()
    clock.advance(1)
    one.jobs([{"device": "job0", "len": 1000, "offset": 100}])
    one.sample()
    assert reports[-1].ram == MemoryProgress(600, 0)
    assert reports[-1].eta == (1500 + 600 - 100) / 100


@pytest.mark.parametrize("phase", [Phase.SWITCHOVER, Phase.FINISH, Phase.ROLLBACK])
def test_there_is_no_time_left_where_nothing_is_copied(phase: Phase) -> None:
    clock, one, reports = meter()
    one.enter(Phase.MIRROR)
    one.sample()
    clock.advance(1)
    one.jobs([{"device": "job0", "len": 1000, "offset": 100}])
    one.sample()
    assert reports[-1].eta is not None
    one.enter(phase)
    assert reports[-1].rate is reports[-1].eta is None


@pytest.mark.parametrize("down", [LinkState(lost_for=1.0), LinkState(silent_for=4.0), LinkState(given_up=True)])
def test_without_a_link_there_is_no_rate_and_a_fresh_one_after_it(down: LinkState) -> None:
    clock, reports, link = Clock(), list[Progress](), [LinkState()]
    one = Meter(clock, reports.append, lambda: link[0], clock.seconds)
    one.expect({"job0": VDA})
    one.enter(Phase.MIRROR)
    up = LinkState()
    for state, offset, rate in ((up, 0, None), (up, 100, 100), (down, 100, None), (up, 100, None), (up, 300, 200)):
        link[0] = state
        one.jobs([{"device": "job0", "len": 1000, "offset": offset}])
        one.sample()
        assert (reports[-1].rate, reports[-1].eta is None) == (rate, rate is None)
        clock.advance(1)
