from __future__ import annotations

import subprocess
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import NotMigratable
from nbdtun.migration.destination.outcome import settle
from nbdtun.migration.destination.recovery import clean_up, end, end_used_up
from nbdtun.migration.ids import JOURNAL, block_name
from nbdtun.migration.rollback.journal import End, Entry
from nbdtun.migration.rollback.presence import Presence
from nbdtun.ownership.reach import Credentials
from tests.migration.stage.left import entry
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.talk import SESSION

NAME = block_name(SESSION, 0)


def scene(state: str = "inmigrate", **left: Any) -> tuple[PaperQemu, Entry]:
    qemu = PaperQemu(Clock(), "web1", state=state)
    Deferred.fromCoroutine(qemu.connect())
    journal = entry(left.pop("end", End.DESTINATION), **({"runs": False} | left))
    qemu.objects[JOURNAL] = journal.text()
    return qemu, journal


def do(qemu: PaperQemu, work: Any) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
    qemu.clock.pump([0.01] * 20)
    return got[0]


def test_exports_their_server_and_capabilities_are_taken_away() -> None:
    qemu, _ = scene(capabilities={"events": False})
    qemu.serving, qemu.exports = True, {NAME}
    qemu.capabilities["events"] = True
    assert do(qemu, clean_up(qemu)) == [NAME]
    assert (qemu.serving, qemu.exports, qemu.objects) == (False, set(), {})
    assert not qemu.capabilities["events"]
    assert do(qemu, clean_up(qemu)) == []


def test_a_server_without_exports_is_taken_away_too() -> None:
    qemu, _ = scene()
    qemu.serving = True
    assert do(qemu, clean_up(qemu)) == ["its journal"]
    assert not qemu.serving
    qemu, _ = scene()
    assert do(qemu, clean_up(qemu)) == ["its journal"]


def test_a_daemon_that_lives_is_left_alone() -> None:
    qemu, left = scene(began=1.0)
    qemu.migration = {"status": "setup"}
    Presence(left.name).acquire()
    assert do(qemu, end_used_up(qemu)) is None
    error = do(qemu, clean_up(qemu))
    assert isinstance(error, NotMigratable)
    assert "another nbdtun-dest is using it (process 7)" in str(error)
    assert qemu.objects


@pytest.mark.parametrize(("state", "status"), [("inmigrate", "setup"), ("paused", "completed"), ("inmigrate", "failed")])
def test_a_qemu_that_is_used_up_is_ended(state: str, status: str) -> None:
    qemu, _ = scene(state, began=1.0)
    qemu.migration = {"status": status}
    error = do(qemu, end_used_up(qemu))
    assert isinstance(error, NotMigratable)
    assert "start it again with -S -incoming defer" in str(error)
    assert not qemu.alive


@pytest.mark.parametrize(
    ("state", "status", "left"),
    [
        ("inmigrate", "none", {"began": 1.0}),
        ("inmigrate", "none", {}),
        ("running", "completed", {"began": 1.0}),
        ("running", "completed", {"began": 1.0, "handed_over": True}),
    ],
)
def test_one_that_is_not_or_whose_guest_may_run_is_not(state: str, status: str, left: dict[str, Any]) -> None:
    qemu, _ = scene(state, **left)
    qemu.migration = {} if status == "none" else {"status": status}
    assert do(qemu, end_used_up(qemu)) is None
    assert qemu.alive


def test_the_word_of_a_handover_stays_until_its_source_has_asked() -> None:
    qemu, left = scene("paused", began=1.0, handed_over=True)
    qemu.migration = {"status": "completed"}
    error = do(qemu, end_used_up(qemu))
    assert isinstance(error, NotMigratable)
    assert "its guest was handed over, and stands still there" in str(error)
    assert qemu.alive
    assert qemu.objects[JOURNAL] == left.text()


@pytest.mark.parametrize("work", [clean_up, end_used_up, settle])
def test_a_migration_from_here_is_not_touched(work: Any) -> None:
    """Its process was killed when the guest was paused: the QEMU has the only copy of it."""
    qemu, left = scene("paused", end=End.SOURCE, began=1.0)
    qemu.migration = {"status": "pre-switchover"}
    error = do(qemu, work(qemu))
    assert isinstance(error, NotMigratable)
    assert str(error) == (
        "web1: a migration of this VM to another host has not ended; repeat `nbdtun migrate` on this host: it ends that one first"
    )
    assert qemu.alive
    assert qemu.objects[JOURNAL] == left.text()


class Stuck:
    """A real process in the place of a QEMU that does not answer."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "60"])
        self.qemu = PaperQemu(Clock(), "web1", state="inmigrate")
        Deferred.fromCoroutine(self.qemu.connect())
        self.qemu.hangs = {"quit"}
        self.qemu.credentials = Credentials(self.process.pid, 2, 3)

    def end(self, **how: Any) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(end(self.qemu, **how)).addBoth(got.append)
        self.qemu.clock.pump([1.0] * 61)
        return got[0]


def test_a_qemu_that_is_stuck_is_killed() -> None:
    stuck = Stuck()
    assert stuck.end(stuck=True) is None
    assert stuck.process.wait(5) == -9
    assert stuck.end(stuck=True) is None  # it is not there any more


def test_any_other_that_does_not_answer_is_left() -> None:
    stuck = Stuck()
    assert stuck.end() is None
    assert stuck.process.poll() is None
    stuck.process.kill()
    stuck.process.wait(5)


def test_one_of_another_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("signal.pidfd_send_signal", refuse)
    assert f"this user may not kill it: kill -9 {stuck.process.pid}" in str(stuck.end(stuck=True).value)
    stuck.process.kill()
    stuck.process.wait(5)
