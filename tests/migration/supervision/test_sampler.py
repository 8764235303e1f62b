from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from nbdtun.errors import MonitorError, TimedOut
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.supervision.budget import Budget
from nbdtun.migration.supervision.convergence import Convergence
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.supervision.sampler import Sampler
from nbdtun.migration.supervision.supervision import Supervision
from nbdtun.migration.supervision.watchdog import Verdict, Watchdog
from nbdtun.migration.timeouts import Timeouts
from nbdtun.migration.vm.disks import Disk
from tests.migration.stage.paper import Sheet

JOB = {"device": "job", "len": 1000, "offset": 300}


class Desk:
    """A sampler, a QEMU whose answers are ``answers``, and what it led to."""

    def __init__(self, timeouts: Timeouts | None = None, **answers: Any) -> None:
        self.clock = Clock()
        self.sheet = Sheet(self.clock, {name.replace("_", "-"): answer for name, answer in answers.items()})
        self.reports: list[Progress] = []
        self.alarms: list[Exception] = []
        self.verdicts: list[Verdict] = []
        settings = MigrationSettings(vm="web1")
        self.meter = Meter(self.clock, self.reports.append, LinkState, lambda: 0.0)
        self.meter.expect({"job": Disk("vda", "", "vda-dev", 1000)})
        convergence = Convergence(self.sheet, settings, Budget(0, 0.3))
        supervision = Supervision(self.meter, convergence, Watchdog("web1", timeouts or Timeouts(), 0.0))
        self.sampler = Sampler(self.clock, self.sheet, supervision, 5.0, self.alarms.append, self.verdicts.append)
        self.sampler.start()

    def pass_seconds(self, count: int) -> None:
        self.clock.pump([1.0] * count)


def test_before_there_are_disks_qemu_is_not_asked() -> None:
    desk = Desk()
    desk.pass_seconds(3)
    assert desk.sheet.asked == []
    assert len(desk.reports) == 3


def test_each_second_it_asks_how_far_the_disks_are() -> None:
    desk = Desk(query_block_jobs=[JOB])
    desk.meter.enter(Phase.MIRROR)
    desk.pass_seconds(2)
    assert desk.sheet.asked == ["query-block-jobs"] * 2
    assert [disk.done for disk in desk.reports[-1].disks] == [300]
    desk.sampler.stop()
    desk.sampler.stop()
    desk.pass_seconds(2)
    assert desk.sheet.asked == ["query-block-jobs"] * 2
    assert repr(desk.sampler) == "<Sampler stopped>"


def test_what_it_fails_at_rings_the_alarm() -> None:
    error = MonitorError("web1: QEMU has not answered")
    desk = Desk(query_block_jobs=error)
    desk.meter.enter(Phase.MIRROR)
    desk.pass_seconds(1)
    assert desk.alarms == [error]


def test_a_verdict_is_handed_on() -> None:
    desk = Desk(Timeouts(total=3.0), query_block_jobs=[JOB])
    desk.meter.enter(Phase.MIRROR)
    desk.pass_seconds(2)
    assert desk.verdicts == []
    desk.pass_seconds(1)
    assert isinstance(desk.verdicts[0].error, TimedOut)
