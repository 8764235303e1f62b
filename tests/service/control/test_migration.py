from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

from nbdtun.errors import MigrationError, TooLate
from nbdtun.logs import PROGRESS
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.settings import HOLD
from nbdtun.migration.supervision.budget import Budget
from nbdtun.service.control.commands import YIELD_SECONDS
from nbdtun.service.control.migration import MigrationControl
from tests.migration.stage.stage import Stage


def steered(stage: Stage) -> tuple[MigrationControl, Deferred[Progress]]:
    running = stage.start()
    control = MigrationControl(stage.clock, "web1", "/run/web1.qmp", lambda progress: None)
    control.work = stage.migration
    return control, running


def told(change: Any) -> Any:
    done: list[Any] = []
    Deferred.fromCoroutine(change).addBoth(done.append)
    return done[0].value if isinstance(done[0], Failure) else done[0]


def test_what_it_reports() -> None:
    reported: list[Progress] = []
    control = MigrationControl(Clock(), "web1", "/run/web1.qmp", reported.append)
    assert control.report()["progress"]["phase"] == "prepare"
    control.heed(Progress(time=1.0, elapsed=2.0, phase=Phase.RAM))
    assert [progress.phase for progress in reported] == [Phase.RAM]
    report = control.report()
    assert (report["kind"], report["name"], report["qmp"], report["progress"]["phase"]) == ("migration", "web1", "/run/web1.qmp", "ram")
    assert "bandwidth" not in report
    assert "to" not in report
    assert MigrationControl(Clock(), "web1", "/run/web1.qmp", reported.append, to="ssh://hv2").report()["to"] == "ssh://hv2"


def test_it_logs_each_phase_once_with_its_session(events: list[LogEvent]) -> None:
    control, running = steered(stage := Stage())
    control.heed(Progress(time=1.0, elapsed=0.0, phase=Phase.PREPARE))
    for phase in (Phase.PREPARE, Phase.MIRROR, Phase.MIRROR):
        control.heed(Progress(time=1.0, elapsed=2.0, phase=phase))
    session = stage.migration.session[:8]
    told = [(formatEvent(event), event["session"], event["phase"]) for event in events if event["log_namespace"] == PROGRESS]
    assert told == [(f"web1: session {session} begins", session, "prepare"), ("web1: mirror", session, "mirror")]
    assert control.report()["session"] == session
    running.addErrback(lambda _: None)
    running.cancel()
    stage.turn(60)


def test_a_vm_of_libvirts_has_an_uri_in_the_place_of_a_monitor() -> None:
    report = MigrationControl(Clock(), "web1", "qemu:///system", lambda progress: None).report()
    assert report["libvirt"] == "qemu:///system"
    assert "qmp" not in report


def test_it_reports_where_its_messages_go() -> None:
    places: list[str | None] = [None]
    control = MigrationControl(Clock(), "web1", "/run/web1.qmp", lambda progress: None, lambda: places[-1])
    assert "log" not in control.report()
    places.append("/run/nbdtun/web1.log")
    assert control.report()["log"] == "/run/nbdtun/web1.log"


def test_it_reports_the_workers_that_it_has() -> None:
    control = MigrationControl(Clock(), "web1", "/run/web1.qmp", lambda progress: None)
    assert "workers" not in control.report()
    control.workers = lambda: [{"pid": 7, "ended": None, "channels": []}]
    assert control.report()["workers"] == [{"pid": 7, "ended": None, "channels": []}]


def test_before_it_begins_nothing_can_be_done() -> None:
    control = MigrationControl(Clock(), "web1", "/run/web1.qmp", lambda progress: None)
    assert isinstance(told(control.change(1, None)), TooLate)
    with pytest.raises(TooLate, match="web1: cannot be cancelled in phase prepare"):
        control.end()


def test_it_changes_and_cancels_what_is_under_way() -> None:
    stage = Stage()
    control, running = steered(stage)
    stage.turn(20, until=Phase.MIRROR)
    assert told(control.change(1000, 500)) is None
    assert (control.report()["bandwidth"], control.report()["downtime"]) == (1000, 0.5)
    assert told(control.change(0, None)) is None
    assert control.report()["bandwidth"] is None
    assert told(control.change(None, None, 2_000_000_000)) is None
    assert stage.migration.moment.until == 2_000_000_000
    control.end()
    control.end()  # it waits with the first
    running.addErrback(lambda _: None)
    stage.turn(60)
    assert stage.running() == ["web1"]
    control.heed(stage.reports[-1])
    with pytest.raises(TooLate, match="cancelled"):
        control.end()
    assert isinstance(told(control.change(1, None)), TooLate)


def test_what_is_held_goes_on_at_a_word_and_cannot_be_held_again() -> None:
    stage = Stage()
    running = stage.start(switchover=HOLD)
    control = MigrationControl(Clock(), "web1", "/run/web1.qmp", lambda progress: None)
    control.work = stage.migration
    stage.turn(100)
    assert stage.reports[-1].phase is Phase.HOLDING
    assert told(control.change(None, None, 0)) is None
    stage.turn(1)
    assert stage.reports[-1].phase is not Phase.HOLDING
    late = told(control.change(None, None, 2_000_000_000))
    assert isinstance(late, TooLate)
    assert str(late) == "web1: it switches over already"
    assert isinstance(stage.outcome(running), Progress)


def test_libvirt_chooses_the_moment_by_itself() -> None:
    control = MigrationControl(Clock(), "web1", "qemu:///system", lambda progress: None)

    control.work = Work()
    refused = told(control.change(None, None, 0))
    assert isinstance(refused, MigrationError)
    assert str(refused).startswith("web1: --switchover is for VMs without libvirt")


class Work:
    """A migration that copies one disk."""

    moment, under_way, checklist = None, True, Checklist()

    def __init__(self) -> None:
        self.budget = Budget(None, 0.3)

    def cancel(self) -> bool:
        return False


def test_it_gives_way_as_long_as_it_is_told_to() -> None:
    """Who tells it may be killed, and what the operator has told it holds again then."""
    clock, work = Clock(), Work()
    control = MigrationControl(clock, "web1", "/run/web1.qmp", lambda progress: None)
    assert isinstance(told(control.give_way(300)), TooLate)  # it has not begun
    control.work = work
    assert told(control.change(1000, None)) is None
    for ceiling, speed in ((2000, 1000), (300, 300)):
        assert told(control.give_way(ceiling)) is None
        assert (work.budget.part(1), control.report()["bandwidth"]) == (speed, 1000)
    clock.advance(YIELD_SECONDS - 1)
    assert told(control.give_way(300)) is None
    clock.advance(YIELD_SECONDS - 1)
    assert work.budget.part(1) == 300
    clock.advance(1)
    assert work.budget.part(1) == 1000
    for ceiling, speed in ((300, 300), (0, 1000)):
        assert told(control.give_way(ceiling)) is None
        assert work.budget.part(1) == speed
    assert told(control.give_way(300)) is None
    control.heed(Progress(time=1.0, elapsed=2.0, phase=Phase.COMPLETED))
    assert clock.getDelayedCalls() == []
