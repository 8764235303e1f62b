from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.vm.guest import USELESS, Guest
from tests.migration.stage.paper_qemu import PaperQemu


def watched(state: str = "running") -> tuple[PaperQemu, Guest]:
    qemu = PaperQemu(Clock(), "web1", state=state)
    Deferred.fromCoroutine(qemu.connect())
    guest = Guest(qemu)
    Deferred.fromCoroutine(guest.check())
    qemu.clock.pump([0.001] * 5)
    return qemu, guest


@pytest.mark.parametrize(
    ("state", "runs"), [("running", True), ("suspended", True), ("paused", False), ("prelaunch", False), ("io-error", False)]
)
def test_whether_it_runs(state: str, runs: bool) -> None:
    _, guest = watched(state)
    assert guest.runs is runs
    assert repr(guest) == f"<Guest of web1 {'runs' if runs else 'is paused'}>"


@pytest.mark.parametrize("state", USELESS)
def test_states_in_which_nothing_can_be_moved(state: str) -> None:
    qemu = PaperQemu(Clock(), "web1", state=state)
    Deferred.fromCoroutine(qemu.connect())
    checking = Deferred.fromCoroutine(Guest(qemu).check())
    qemu.clock.advance(0.001)
    failed: list[BaseException | None] = []
    checking.addErrback(lambda failure: failed.append(failure.value))
    assert str(failed[0]) == f"web1 cannot be migrated: {USELESS[state]}"


def test_the_migration_pauses_it() -> None:
    qemu, guest = watched()
    qemu.state = "finish-migrate"
    qemu.heard("STOP", {})
    stopped = qemu.clock.seconds()
    qemu.clock.advance(0.5)
    assert guest.runs
    assert guest.stopped_at == stopped


def test_somebody_else_pauses_it_and_lets_it_run_again() -> None:
    qemu, guest = watched()
    qemu.stop()
    qemu.clock.pump([0.001] * 5)
    assert not guest.runs
    assert guest.stopped_at is None
    qemu.cont()
    qemu.clock.pump([0.001] * 5)
    assert guest.runs
    guest.unwatch()
    qemu.stop()
    qemu.clock.pump([0.001] * 5)
    assert guest.runs


@pytest.mark.parametrize(("state", "asked"), [("paused", True), ("postmigrate", True), ("running", False), ("shutdown", False)])
def test_it_is_resumed_where_it_must_be(state: str, asked: bool) -> None:
    qemu, guest = watched()
    qemu.state = state
    resuming = Deferred.fromCoroutine(guest.resume(qemu.clock))
    qemu.clock.pump([0.001] * 5)
    assert resuming.called
    assert ("cont" in qemu.asked) is asked


def test_a_migration_that_is_ending_is_waited_for() -> None:
    qemu, guest = watched()
    qemu.state = "finish-migrate"
    resuming = Deferred.fromCoroutine(guest.resume(qemu.clock))
    qemu.clock.pump([0.05] * 10)
    assert not resuming.called
    qemu.state = "postmigrate"
    qemu.clock.pump([0.05] * 10)
    assert resuming.called
    assert qemu.state == "running"


def test_its_user_shuts_it_down() -> None:
    qemu = PaperQemu(Clock(), "web1")
    Deferred.fromCoroutine(qemu.connect())
    alarms: list[Exception] = []
    guest = Guest(qemu, alarms.append)
    Deferred.fromCoroutine(guest.check())
    qemu.clock.pump([0.001] * 3)
    qemu.heard("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    assert [str(alarm) for alarm in alarms] == ["web1: the guest has shut down (guest-shutdown)"]


def test_one_that_did_not_run_is_not_resumed() -> None:
    qemu, guest = watched("paused")
    assert Deferred.fromCoroutine(guest.resume(qemu.clock)).called
    assert "cont" not in qemu.asked


def test_its_qemu_is_ended() -> None:
    qemu, guest = watched()
    ending = Deferred.fromCoroutine(guest.end(qemu.clock))
    qemu.clock.pump([0.001] * 5)
    assert ending.called
    assert not qemu.alive


def test_its_qemu_is_ended_though_its_monitor_was_closed() -> None:
    qemu, guest = watched()
    qemu.lose("QEMU closed its monitor")
    ending = Deferred.fromCoroutine(guest.end(qemu.clock))
    qemu.clock.pump([0.001] * 5)
    assert ending.called
    assert not qemu.alive


def test_a_qemu_that_does_not_end() -> None:
    qemu, guest = watched()
    qemu.quit = lambda: None  # type: ignore[method-assign]
    ending = Deferred.fromCoroutine(guest.end(qemu.clock))
    failed: list[BaseException | None] = []
    ending.addErrback(lambda failure: failed.append(failure.value))
    qemu.clock.pump([1] * 31)
    assert str(failed[0]) == "web1: QEMU is still running 30 s after quit"


def test_we_pause_it_because_it_does_not_converge() -> None:
    """Nobody else did, so it is to run at the end; and its downtime begins here."""
    qemu, guest = watched()
    Deferred.fromCoroutine(guest.pause())
    qemu.clock.pump([0.001] * 5)
    assert qemu.state == "paused"
    assert guest.runs
    assert guest.stopped_at is not None
    Deferred.fromCoroutine(guest.resume(qemu.clock))
    qemu.clock.pump([0.001] * 5)
    assert qemu.state == "running"
    qemu.stop()  # this was somebody else
    qemu.clock.pump([0.001] * 5)
    assert not guest.runs


def test_one_that_is_paused_is_not_paused_again() -> None:
    qemu, guest = watched("paused")
    Deferred.fromCoroutine(guest.pause())
    qemu.clock.pump([0.001] * 5)
    assert "stop" not in qemu.asked
    assert not guest.runs


@pytest.mark.parametrize("stopped", [True, False])
def test_one_that_has_stood_still_is_announced_again(stopped: bool) -> None:
    qemu, guest = watched()
    if stopped:
        qemu.state = "finish-migrate"
        qemu.heard("STOP", {})
        qemu.clock.pump([0.001] * 5)
    qemu.state = "postmigrate"
    Deferred.fromCoroutine(guest.resume(qemu.clock))
    qemu.clock.pump([0.001] * 5)
    assert qemu.announced == ["running"] * stopped
