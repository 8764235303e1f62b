"""Both ends on paper, and a clock that is turned by hand."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred

from nbdtun.errors import LinkLost, MonitorLost
from nbdtun.migration.check import preflight as module
from nbdtun.migration.check.activity import Activity
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.preflight import Preflight, leaving
from nbdtun.migration.check.report import Report
from nbdtun.migration.control.commands import MIGRATION
from nbdtun.migration.finding import Level
from nbdtun.migration.settings import MigrationSettings
from tests.migration.stage.stage import Stage

MIB = 1 << 20
IDLE = Activity(0.0, 0.0)


class Flight:
    """A stage whose tunnel carries ``rate`` bytes per second, and whose guest does what ``busy`` says."""

    def __init__(self, rate: float | Exception = 100.0 * MIB, busy: Activity | None = IDLE, **options: Any) -> None:
        self.stage = Stage(**options)
        self.stage.rate = rate
        self.busy = busy

    def run(self, monkeypatch: pytest.MonkeyPatch, measure: bool = True, monitor: bool = True, **settings: Any) -> Report:
        async def activity(*_: object) -> Activity:
            if self.busy is None:
                raise LinkLost("no figure")
            return self.busy

        monkeypatch.setattr(module, "activity", activity)
        Deferred.fromCoroutine(self.stage.source.connect())
        got: list[Report] = []
        asked = self.stage.source if monitor else None
        flight = Preflight(self.stage.clock, asked, self.stage, MigrationSettings(vm="web1", **settings), Checklist())
        Deferred.fromCoroutine(flight.run(measure)).addCallback(got.append)
        for _ in itertools.takewhile(lambda _: not got, range(200)):
            self.stage.turn(1)
        return got[0]


def lines(report: Report, level: Level = Level.FAILURE) -> list[str]:
    return [f"{finding.check}: {finding}" for finding in report.findings if finding.level is level]


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight(busy=Activity(memory=10.0 * MIB, writes=1.0 * MIB))
    report = flight.run(monkeypatch)
    assert report.level is Level.OK
    checks = ["source", "state", "blockers", "disks", "capabilities", "jobs", "images", "tunnel"]
    checks += ["destination", "machine", "capabilities", "jobs", "disks", "clock", "throughput"]
    assert [finding.check for finding in report.findings] == [*checks, "activity", "forecast"]
    assert report.forecast is not None
    assert report.forecast.total is not None
    for qemu in (flight.stage.source, flight.stage.destination):
        assert all(command.startswith(("query-", "x-query-")) or command in ("qom-get", "qom-list") for command in qemu.asked)
    assert flight.stage.leftovers() == []


def test_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Flight(rate=LinkLost("not asked")).run(monkeypatch, measure=False)
    assert (report.level, report.forecast, report.measured.throughput) == (Level.OK, None, None)


def test_a_vm_is_read_once_for_all_its_destinations() -> None:
    stage, settings = Stage(), MigrationSettings(vm="web1")
    Deferred.fromCoroutine(stage.source.connect())
    once, told = leaving(stage.source, settings), list[Report]()
    for count in (1, 2):
        flight = Preflight(stage.clock, stage.source, stage, settings, Checklist(), None, once)
        Deferred.fromCoroutine(flight.run(False)).addCallback(told.append)
        for _ in range(200):
            if len(told) < count:
                stage.turn(1)
    first, second = told
    assert first.findings[:-1] == second.findings[:-1]  # the last one is about the clocks
    assert (stage.source.asked.count("query-block"), stage.destination.asked.count("query-block")) == (1, 2)


def test_both_ends_are_told_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight(disks={"vda": 1 << 20, "vdb": 1 << 20})
    flight.stage.new_destination(disks={"vda": 1 << 10}, state="paused")
    flight.stage.source.blockers = ["no"]
    report = flight.run(monkeypatch)
    assert [line.partition(":")[0] for line in lines(report)] == ["blockers", "destination", "disks", "disks"]
    assert report.measured.throughput is None


def test_a_destination_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight()
    flight.stage.reachable = False
    assert lines(flight.run(monkeypatch)) == ["tunnel: the destination cannot be reached"]


def test_a_source_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Flight().run(monkeypatch, monitor=False)
    assert lines(report, Level.WARNING) == ["destination: not compared: the source QEMU could not be asked"]
    assert report.measured.round_trip is not None
    assert report.forecast is None


def test_a_source_that_dies_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight()
    flight.stage.source.fails["query-version"] = MonitorLost("web1: QEMU closed its monitor")
    assert lines(flight.run(monkeypatch))[0] == "source: web1: QEMU closed its monitor"


def test_a_vm_that_has_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight()
    migration = flight.stage.start()
    flight.stage.turn(0.5)
    assert lines(flight.run(monkeypatch))[-1] == "destination: web1 is already being migrated to this destination by another session"
    migration.addErrback(lambda failure: failure.trap(CancelledError))
    migration.cancel()
    flight.stage.turn(60)


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.migration.check.departure.MIGRATION", evolve(MIGRATION, lowest=2, highest=3))
    assert "destination: the source speaks version" in lines(Flight().run(monkeypatch))[0]


@pytest.mark.parametrize(("ahead", "text"), [(37.0, "37 s ahead of this host's"), (-7200.0, "2 h behind this host's")])
def test_clocks_that_differ(monkeypatch: pytest.MonkeyPatch, ahead: float, text: str) -> None:
    monkeypatch.setattr("nbdtun.migration.destination.control.time", lambda: 1e9 + ahead)
    monkeypatch.setattr(module, "time", lambda: 1e9)
    report = Flight().run(monkeypatch)
    assert lines(report, Level.WARNING) == [
        f"clock: the destination's clock is {text}; synchronise both with NTP; certificate checks depend on it"
    ]
    assert report.measured.clock == pytest.approx(ahead, abs=1)


@pytest.mark.parametrize(
    ("busy", "text"),
    [
        (Activity(0.0, 200.0 * MIB), "the guest writes 200 MiB/s to its disks, but only 100 MiB/s can be copied"),
        (Activity(90.0 * MIB, 20.0 * MIB), "the guest dirties 90 MiB/s of memory, but only 80 MiB/s can be sent"),
    ],
)
def test_what_does_not_converge(monkeypatch: pytest.MonkeyPatch, busy: Activity, text: str) -> None:
    report = Flight(busy=busy).run(monkeypatch)
    (line,) = lines(report, Level.WARNING)
    assert line.startswith(f"forecast: will not converge: {text}; ")
    assert report.forecast is not None
    assert report.forecast.total is None


def test_what_cannot_be_measured_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Flight(rate=LinkLost("nothing has arrived"), busy=None).run(monkeypatch)
    assert lines(report, Level.WARNING) == ["throughput: nothing has arrived", "activity: no figure"]
    assert (report.level, report.forecast) == (Level.WARNING, None)


def test_buffers_that_hold_less_than_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight(rate=24.0 * MIB)
    flight.stage.held = "destination"
    report = flight.run(monkeypatch)
    (line,) = lines(report, Level.WARNING)
    assert re.fullmatch(
        r"throughput: one tunnel channel carries 24 MiB/s over a round trip of \S+ ms: TCP's buffers at the destination hold no more; "
        r"set net\.core\.rmem_max and net\.core\.wmem_max at that host to 67108864, or give nbdtun CAP_NET_ADMIN there, and start it again",
        line,
    )
    assert report.measured.throughput == 24.0 * MIB


def test_a_paused_guest_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Flight(busy=None, state="paused").run(monkeypatch)
    assert report.level is Level.OK
    assert report.forecast is not None
    assert "downtime" not in str(report.findings[-1])


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Flight().run(monkeypatch).as_json()
    assert told.keys() == {"vm", "level", "findings", "measured", "forecast"}
    assert told["measured"].keys() == {"round_trip", "throughput", "clock", "dirty_rate", "write_rate"}
