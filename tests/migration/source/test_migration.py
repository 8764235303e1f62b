"""Whole migrations on paper: how they go, and fail; test_each_command makes every command fail, hang, and be the last."""

from __future__ import annotations

import os
import re

import pytest
from twisted.internet.defer import CancelledError

from nbdtun.errors import (
    CommandFailed,
    LinkLost,
    MemoryFailed,
    MirrorFailed,
    MonitorError,
    MonitorLost,
    NbdtunError,
    NotMigratable,
    OutcomeUnknown,
)
from nbdtun.migration.ids import JOURNAL
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.migration.qmp.life import Trigger
from nbdtun.migration.settings import Strategy
from nbdtun.migration.timeouts import Timeouts
from tests.migration.stage.left import entry
from tests.migration.stage.stage import Stage
from tests.migration.stage.verdicts import assert_at_source, assert_moved

PHASES = [Phase.PREPARE, Phase.MIRROR, Phase.READY, Phase.RAM, Phase.SWITCHOVER]


def test_it_moves() -> None:
    stage = Stage()
    last = stage.outcome(stage.start())
    assert_moved(stage, last)
    assert last is stage.reports[-1]
    assert last.phase is Phase.COMPLETED
    assert last.downtime_ms is not None
    assert 50 < last.downtime_ms < 500
    assert not stage.source.alive
    seen = [report.phase for report in stage.reports]
    assert sorted(set(seen), key=seen.index) == [*PHASES, Phase.FINISH, Phase.SETTLE, Phase.COMPLETED]


def test_it_tells_at_once_that_it_runs_there() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.SETTLE)
    told = stage.reports[-1]
    assert stage.running() == ["web1 at the destination"]
    assert stage.source.alive
    last = stage.outcome(migration)
    assert isinstance(last, Progress)
    assert (last.elapsed, last.downtime_ms) == (told.elapsed, told.downtime_ms)
    assert last.downtime_ms is not None
    assert_moved(stage, last)


def test_without_a_moment_to_settle_it_ends_at_once() -> None:
    stage = Stage()
    assert_moved(stage, stage.outcome(stage.start(settle=0)))
    assert Phase.SETTLE not in {report.phase for report in stage.reports}


def test_a_vm_without_disks_moves() -> None:
    stage = Stage(disks={})
    assert_moved(stage, stage.outcome(stage.start()))


def test_a_paused_one_stays_paused() -> None:
    stage = Stage(state="paused")
    last = stage.outcome(stage.start())
    assert isinstance(last, Progress)
    assert last.downtime_ms is None
    assert stage.running() == []
    assert stage.destination.state == "paused"


def test_a_paused_one_stays_paused_when_it_fails() -> None:
    stage = Stage(state="paused")
    stage.destination.fails["nbd-server-stop"] = CommandFailed("no")
    assert isinstance(stage.outcome(stage.start()), CommandFailed)
    assert stage.running() == []


def test_the_source_is_kept_if_asked() -> None:
    stage = Stage()
    assert_moved(stage, stage.outcome(stage.start(keep_source=True)))
    assert stage.source.alive
    assert stage.source.state == "postmigrate"
    assert stage.source.parameters["downtime-limit"] == 300


@pytest.mark.parametrize("phase", PHASES)
def test_cancelled_in(phase: Phase) -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=phase)
    migration.cancel()
    assert_at_source(stage, stage.outcome(migration), CancelledError)
    if not stage.destination.alive:
        stage.new_destination()
    assert_moved(stage, stage.outcome(stage.start()))


@pytest.mark.parametrize("tenths", range(70))
def test_cancelled_at_any_moment(tenths: int) -> None:
    stage = Stage(disks={"vda": 1 << 20, "vdb": 1 << 21})
    migration = stage.start()
    stage.turn(tenths / 10 + 0.003)
    migration.cancel()
    migration.cancel()
    outcome = stage.outcome(migration)
    if isinstance(outcome, Progress):
        assert_moved(stage, outcome)
    else:
        assert_at_source(stage, outcome, CancelledError)


@pytest.mark.parametrize("tenths", range(70))
def test_the_control_channel_is_lost_at_any_moment(tenths: int) -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(tenths / 10 + 0.003)
    stage.cut()
    outcome = stage.outcome(migration)
    if isinstance(outcome, Progress):
        assert_moved(stage, outcome)
    else:
        assert_at_source(stage, outcome)


def test_what_fails_while_the_control_channel_is_lost_failed_for_that() -> None:
    stage = Stage()
    stage.source.fails["blockdev-add"] = CommandFailed("web1: QEMU refused blockdev-add: target nbd is not listed")
    migration = stage.start()
    stage.turn(60, until=Phase.MIRROR)
    stage.silent = True
    stage.cut()
    outcome = stage.outcome(migration)
    assert isinstance(outcome, LinkLost)
    assert re.match("the control channel .* was lost.*; .*target nbd is not listed", str(outcome))
    stage.source.fails.clear()
    assert_at_source(stage, outcome)


def test_finish_is_answered_by_silence() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.FINISH)
    stage.reachable = False
    stage.cut()
    outcome = stage.outcome(migration)
    assert isinstance(outcome, OutcomeUnknown)
    assert "quit the source" in str(outcome)
    assert stage.source.state == "postmigrate"
    assert stage.running() in ([], ["web1 at the destination"])
    assert stage.reports[-1].phase is Phase.UNKNOWN


def test_one_that_somebody_lets_run_on_here_when_nobody_knows_whether_it_runs_there() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.FINISH)
    stage.reachable = False
    stage.cut()
    stage.source.cont()
    outcome = stage.outcome(migration)
    assert isinstance(outcome, OutcomeUnknown)
    assert "The source RUNS: somebody has let the guest run on there" in str(outcome)
    assert "stays paused" not in str(outcome)
    assert stage.reports[-1].error == str(outcome)


def test_a_daemon_that_forgot() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.FINISH)
    stage.new_daemon()
    stage.cut()
    outcome = stage.outcome(migration)
    assert isinstance(outcome, OutcomeUnknown)
    assert "the destination reports session unknown" in str(outcome)


def test_a_mirror_that_fails_while_the_memory_is_sent() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.RAM)
    stage.ingresses[0].trouble = LinkLost("the cable")
    stage.source.end_job(next(iter(stage.source.jobs)), error="Input/output error")
    outcome = stage.outcome(migration)
    assert_at_source(stage, outcome, MirrorFailed)
    assert str(outcome) == "disk vda: Input/output error; in the tunnel: the cable"


def test_a_mirror_that_somebody_else_ends() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.RAM)
    stage.source.end_job(next(iter(stage.source.jobs)))
    assert_at_source(stage, stage.outcome(migration), MirrorFailed)


def test_memory_that_fails_gives_qemus_reason() -> None:
    stage = Stage()
    stage.source.memory_error = "Unable to write to socket: Broken pipe"
    outcome = stage.outcome(stage.start())
    assert_at_source(stage, outcome, MemoryFailed)
    assert "the memory migration ended (failed): Unable to write to socket: Broken pipe" in str(outcome)


def test_what_forbids_a_migration() -> None:
    stage = Stage()
    stage.source.blockers = ["device 'x' does not support migration"]
    assert_at_source(stage, stage.outcome(stage.start()), NotMigratable)
    stage.source.blockers = []
    stage.source.migration = {"status": "active"}
    assert_at_source(stage, stage.outcome(stage.start()), NotMigratable)


def test_a_guest_paused_by_somebody_meanwhile_stays_paused() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.RAM)
    stage.source.stop()
    assert isinstance(stage.outcome(migration), Progress)
    assert stage.running() == []


@pytest.mark.parametrize("state", ["running", "paused"])
def test_one_that_somebody_lets_run_on_here_when_all_is_sent_stays_here(state: str) -> None:
    """Its operator sees that it stands still, as the link is away just then; two would run when it is back."""
    stage = Stage()
    stage.source.state = state
    migration = stage.start()
    stage.turn(900, until=Phase.SWITCHOVER)
    stage.link = LinkState(lost_for=1.0)
    stage.turn(5)
    assert stage.source.state == "postmigrate"
    stage.source.cont()
    stage.turn(1)
    stage.link = LinkState()
    error = stage.outcome(migration)
    assert isinstance(error, NotMigratable)
    assert "another client has let the guest run on here" in str(error)
    assert stage.running() == ["web1"]
    assert stage.leftovers() == []


def test_disks_do_not_go_on_in_another_qemu() -> None:
    """As after a reboot of the host: what had been written there may be lost."""
    stage = Stage()
    stage.source.stuck = True
    migration = stage.start()
    stage.turn(60, until=Phase.MIRROR)
    stage.turn(2)
    stage.destination.die()
    stage.new_destination()
    stage.destination.pid = os.getpid()
    stage.new_daemon()
    stage.cut()
    error = stage.outcome(migration)
    assert isinstance(error, MirrorFailed)
    assert "QEMU was started again at the destination" in str(error)
    assert stage.running() == ["web1"]
    assert stage.leftovers() == []


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_an_earlier_one_that_was_handed_over_stays_unknown_when_it_is_interrupted(how: str) -> None:
    """Its VM may run at the destination, which does not answer just now."""
    stage = Stage()
    stage.source.state, stage.source.migration, stage.silent = "postmigrate", {"status": "completed"}, True
    stage.source.began, stage.source.ended = 0.0, 60.0
    stage.source.objects[JOURNAL] = entry(began=0.0, switched=50.0, handed_over=True).text()
    migration = stage.start(timeouts=Timeouts(phases={Phase.PREPARE: 20.0 if how == "late" else None}))
    stage.turn(5)
    if how == "cancelled":
        migration.cancel()
    assert isinstance(stage.outcome(migration, 60), OutcomeUnknown)
    assert stage.reports[-1].phase is Phase.UNKNOWN
    assert stage.source.state == "postmigrate"
    assert JOURNAL in stage.source.objects


def test_a_monitor_that_another_client_takes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is undone; its operator must know that the guest may stand still."""
    stage = Stage()
    migration = stage.start()
    stage.turn(900, until=Phase.SWITCHOVER)

    async def held() -> None:
        stage.source._life.advance(Trigger.FAIL)
        raise MonitorError("another client holds this monitor")

    stage.source.connect = held  # type: ignore[method-assign]
    monkeypatch.setattr("nbdtun.migration.source.failure.is_served", lambda path: True)
    stage.source.lose("QEMU closed its monitor")
    error = stage.outcome(migration)
    assert isinstance(error, MonitorLost)
    assert "nothing was undone in its QEMU, and the guest may stand still; free that monitor" in str(error)
    assert stage.running() == []


def test_a_second_migration_is_refused_while_the_first_lives() -> None:
    stage = Stage()
    first = stage.start()
    stage.turn(60, until=Phase.MIRROR)
    second = stage.start()
    assert isinstance(stage.outcome(second), NotMigratable)
    assert_moved(stage, stage.outcome(first))


def test_a_destination_that_is_silent() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.MIRROR)
    stage.pumps.clear()
    outcome = stage.outcome(migration)
    assert isinstance(outcome, NbdtunError)
    assert not isinstance(outcome, MonitorError)
    assert "has not answered Listen for 90 s" in str(outcome)
    assert stage.running() == ["web1"]


def test_writes_that_wait_are_reported_from_the_first_report_of_the_copying_on() -> None:
    """However long the preparation took: it was empty in that one, and what read it after a second sometimes found it so."""
    stage = Stage()
    stage.outcome(stage.start(converge=frozenset({Strategy.WRITE_BLOCKING})))
    first = next(report for report in stage.reports if report.disks)
    assert (first.phase, first.converge.write_blocking) == (Phase.MIRROR, ("vda",))


def test_its_repr_tells_where_it_is() -> None:
    stage = Stage()
    migration = stage.start()
    assert repr(stage.migration) == "<Migration of web1 forward prepare>"
    stage.outcome(migration)
    assert repr(stage.migration) == "<Migration of web1 ended completed>"
