"""What the destination says of a VM whose migration was left open."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import CommandFailed, MonitorError, MonitorLost
from nbdtun.migration.control.commands import Outcome
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.outcome import find_outcome, settle
from nbdtun.migration.rollback.journal import End
from tests.migration.stage.left import entry


class Qemu:
    """A monitor of a machine in some state."""

    name = "web1"

    def __init__(self, state: str, migration: str = "completed", writes: int = 0, **left: Any) -> None:
        self.ended = False
        written = entry(End.DESTINATION, **left).text() if left else CommandFailed("not found")
        self._answers: dict[str, Any] = {
            "query-status": {"status": state},
            "qom-get": written,
            "query-block-exports": [],
            "query-named-block-nodes": [],
            "nbd-server-stop": CommandFailed("it does not run"),
            "object-del": {},
            "query-migrate": {"status": migration},
            "query-blockstats": [{"stats": {"wr_operations": 0}}, {"stats": {"wr_operations": writes}}],
        }

    async def execute(self, command: str, *_: Any, **__: Any) -> Any:
        if command == "quit":
            self.ended = True
            raise MonitorLost("gone")
        answer = self._answers[command]
        if isinstance(answer, Exception):
            raise answer
        return answer


def settled(qemu: Any, **told: bool) -> Any:
    answers: list[Any] = []
    Deferred.fromCoroutine(settle(qemu, **told)).addCallbacks(answers.append, lambda failure: answers.append(failure.value))
    return answers[0]


def test_a_paused_guest_that_another_source_has_sent_is_not_ended() -> None:
    qemu = Qemu("paused")
    for known in (False, True):
        assert str(settled(qemu, known=known, arrived=True)) == "web1: its QEMU has the session of another source"
    assert not qemu.ended


@pytest.mark.parametrize("state", ["running", "suspended", "debug", "postmigrate"])
def test_a_guest_that_runs_or_has_run_has_arrived(state: str) -> None:
    """Also one that has moved on since, and has written nothing here."""
    qemu = Qemu(state)
    assert settled(qemu) is Outcome.ARRIVED
    assert not qemu.ended


@pytest.mark.parametrize("state", ["shutdown", "guest-panicked", "internal-error", "io-error", "watchdog"])
def test_a_guest_that_does_not_run_any_more_is_lost(state: str) -> None:
    qemu = Qemu(state)
    assert settled(qemu) is Outcome.LOST
    assert not qemu.ended


def test_a_paused_guest_that_has_written_has_run() -> None:
    qemu = Qemu("paused", writes=1)
    assert settled(qemu) is Outcome.ARRIVED
    assert not qemu.ended


@pytest.mark.parametrize(
    ("state", "migration", "left", "outcome"),
    [
        ("paused", "completed", {}, Outcome.ARRIVED),
        ("paused", "none", {}, Outcome.GONE),  # another QEMU, which nothing has come to
        ("prelaunch", "none", {}, Outcome.GONE),
        ("inmigrate", "active", {}, Outcome.GONE),
        ("paused", "completed", {"handed_over": True}, Outcome.GONE),  # its daemon was killed before it let it run
        ("paused", "completed", {"handed_over": False}, Outcome.GONE),
    ],
)
def test_a_session_without_a_journal_is_over(state: str, migration: str, left: dict[str, Any], outcome: Outcome) -> None:
    """Its operator has paused the guest since, and it has no disk to write to. Its source's answer was lost."""
    qemu = Qemu(state, migration, **left)
    assert settled(qemu, known=True) is outcome
    assert qemu.ended is (outcome is Outcome.GONE)


@pytest.mark.parametrize("state", ["paused", "inmigrate", "prelaunch"])
def test_one_that_waits_to_be_told_never_will_be(state: str) -> None:
    qemu = Qemu(state)
    assert settled(qemu) is Outcome.GONE
    assert qemu.ended


def test_a_fresh_qemu_is_left_alone() -> None:
    qemu = Qemu("inmigrate", migration="none")
    assert settled(qemu) is Outcome.FRESH
    assert not qemu.ended


def test_a_guest_that_was_taken_over_to_be_paused_has_arrived() -> None:
    qemu = Qemu("paused", runs=False, handed_over=True)
    assert settled(qemu) is Outcome.ARRIVED
    assert not qemu.ended


@pytest.mark.parametrize(("writes", "outcome"), [(0, Outcome.GONE), (1, Outcome.ARRIVED)])
def test_one_that_was_to_run_and_does_not_is_known_by_its_writes(writes: int, outcome: str) -> None:
    assert settled(Qemu("paused", writes=writes, runs=True, handed_over=True)) == outcome


def test_one_that_was_not_taken_over_has_not_arrived() -> None:
    qemu = Qemu("paused", writes=1, runs=False, handed_over=False)
    assert settled(qemu) is Outcome.GONE
    assert qemu.ended


class Ended:
    """The monitor of a QEMU that has ended."""

    name = "web1"
    path = "/none/web1.qmp"

    async def connect(self) -> None:
        raise MonitorError("No such file or directory")

    async def close(self) -> None:
        pass


def found(remembered: State | None) -> Any:
    answers: list[Any] = []
    qemu: Any = Ended()
    Deferred.fromCoroutine(find_outcome(qemu, remembered=remembered)).addCallbacks(
        answers.append, lambda failure: answers.append(failure.value)
    )
    return answers[0]


def test_of_a_qemu_that_has_ended_its_session_is_remembered() -> None:
    assert found(State.FINISHED) == (Outcome.LOST, "its QEMU has ended")
    assert found(State.ABORTED) == (Outcome.GONE, "")


@pytest.mark.parametrize("remembered", [None, State.UNCERTAIN, State.LISTENING])
def test_or_its_outcome_is_unknown(remembered: State | None) -> None:
    assert isinstance(found(remembered), MonitorError)


def test_one_that_does_not_answer_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.migration.destination.outcome.is_served", lambda path: True)
    assert isinstance(found(State.ABORTED), MonitorError)
