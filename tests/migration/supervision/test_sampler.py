"""What is looked at each second: in which phase, how long QEMU may take, and who is told."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from nbdtun.errors import MonitorLost, Stalled, TimedOut
from nbdtun.migration.ids import block_name
from nbdtun.migration.progress import DiskProgress, LinkState, Phase, Progress
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
from tests.migration.stage.talk import SESSION

ACTIVE = {"status": "active", "ram": {"transferred": 300, "remaining": 700}}


class Watched:
    """A sampler of one disk and the memory, and what it has told."""

    def __init__(self, **timeouts: Any) -> None:
        self.clock = Clock()
        self.reports: list[Progress] = []
        self.alarms: list[Exception] = []
        self.verdicts: list[Verdict] = []
        self.offset = 0
        self.qemu = Sheet(self.clock, {"query-block-jobs": self._jobs, "query-blockstats": [], "query-migrate": ACTIVE})
        self.meter = Meter(self.clock, self.reports.append, LinkState, lambda: 1e9)
        self.meter.expect({"job0": Disk("vda", "", "vda-dev", 1000)})
        settings = MigrationSettings(vm="web1")
        convergence = Convergence(self.qemu, settings, Budget(None, 0.3))
        watchdog = Watchdog("web1", Timeouts(**timeouts), 0)
        supervision = Supervision(self.meter, convergence, watchdog)
        self.sampler = Sampler(self.clock, self.qemu, supervision, 7.0, self.alarms.append, self.verdicts.append)

    def _jobs(self) -> list[dict[str, Any]]:
        return [{"device": "job0", "len": 1000, "offset": self.offset}]

    def watch(self, phase: Phase, seconds: int = 1) -> list[str]:
        """What QEMU is asked in this phase."""
        self.meter.enter(phase)
        self.qemu.asked.clear()
        self.sampler.start()
        for _ in range(seconds):
            self.clock.advance(1)
        return self.qemu.asked


@pytest.mark.parametrize(
    ("phase", "asked"),
    [
        (Phase.PREPARE, []),
        (Phase.MIRROR, ["query-block-jobs", "query-blockstats"]),
        (Phase.RAM, ["query-block-jobs", "query-blockstats", "query-migrate"]),
        (Phase.SWITCHOVER, []),  # in its first second, while the guest stands still
        (Phase.FINISH, []),
    ],
)
def test_each_phase_is_asked_what_moves_in_it(phase: Phase, asked: list[str]) -> None:
    assert Watched().watch(phase) == asked


def test_a_switchover_that_lasts_is_asked_again() -> None:
    assert Watched().watch(Phase.SWITCHOVER, seconds=2) == ["query-block-jobs", "query-blockstats", "query-migrate"]


def test_it_begins_a_second_from_now_and_ends_when_it_is_told() -> None:
    watched = Watched()
    assert watched.watch(Phase.MIRROR, seconds=0) == []
    assert repr(watched.sampler) == "<Sampler running>"
    watched.sampler.stop()
    watched.sampler.stop()
    watched.clock.advance(5)
    assert watched.qemu.asked == []
    assert not watched.clock.getDelayedCalls()


def test_each_second_is_reported() -> None:
    watched = Watched()
    watched.offset = 400
    watched.watch(Phase.RAM, 2)
    last = watched.reports[-1]
    assert (last.disks, last.ram.done, last.ram.total) == ((DiskProgress("vda", 1000, 400),), 300, 1000)
    assert [round(report.elapsed) for report in watched.reports] == [0, 1, 2]


def test_what_qemu_fails_at_is_an_alarm() -> None:
    watched = Watched()
    watched.qemu.answers["query-block-jobs"] = MonitorLost("web1: QEMU closed its monitor")
    watched.watch(Phase.MIRROR)
    assert [str(error) for error in watched.alarms] == ["web1: QEMU closed its monitor"]
    assert len(watched.reports) == 1  # the phase itself


def test_who_stops_it_meanwhile_hears_no_more() -> None:
    watched = Watched()

    def stop() -> list[Any]:
        watched.sampler.stop()
        return []

    watched.qemu.answers["query-block-jobs"] = stop
    watched.watch(Phase.MIRROR)
    assert len(watched.reports) == 1


def test_a_limit_of_time_is_a_verdict() -> None:
    watched = Watched(total=3.0)
    watched.watch(Phase.MIRROR, 3)
    assert isinstance(watched.verdicts[0].error, TimedOut)


def test_zeroes_that_are_written_at_the_destination_are_no_stall() -> None:
    """No byte of the job moves while a target is zeroed; how far our mirror has written does."""
    node = block_name(SESSION, 0)
    watched = Watched(stall=3.0)
    watched.qemu.answers["query-blockstats"] = lambda query_nodes: [
        {"node-name": node, "stats": {"wr_highest_offset": round(watched.clock.seconds())}},
        {"node-name": "vda", "stats": {"wr_highest_offset": 0}},
    ]
    watched.watch(Phase.MIRROR, 10)
    assert watched.verdicts == []
    watched.qemu.answers["query-blockstats"] = []
    for _ in range(5):
        watched.clock.advance(1)
    assert isinstance(watched.verdicts[0].error, Stalled)
