from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from nbdtun.errors import CommandFailed, DestinationFailed, LinkLost, MigrationError, NoAnswer, OutcomeUnknown
from nbdtun.migration.control.commands import Abort, Finish, Query
from nbdtun.migration.settings import MigrationSettings, StepTimeouts
from nbdtun.migration.source.handover import Handover

SESSION = "0123456789abcdef" * 2


class Scripted:
    """A control channel, and the Carrier of new ones: each command takes the next of its answers, the last one again and again."""

    def __init__(self, **answers: Any) -> None:
        self.clock = Clock()
        self.answers = {name: list(answer) if isinstance(answer, list) else [answer] for name, answer in answers.items()}
        self.asked: list[str] = []
        self.lost = False
        self.opened = 0
        self.reachable = True
        self.hung_up = 0

    async def ask(self, command: Any, *, seconds: float, **arguments: Any) -> Any:
        self.asked.append(command.__name__)
        answers = self.answers[command.__name__]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, NoAnswer):
            await deferLater(self.clock, seconds)
        elif isinstance(answer, LinkLost):
            self.lost = True
        if isinstance(answer, Exception):
            raise answer
        return {"state": answer, "machine": "paused", "reason": "because"}

    def hang_up(self) -> None:
        self.hung_up += 1

    async def control(self, protocol: Any) -> Any:
        if not self.reachable:
            raise LinkLost("no route")
        self.lost = False
        self.opened += 1
        return self


def finish(scripted: Scripted, seconds: float = 300) -> Any:
    clock, got = scripted.clock, list[Any]()
    settings = MigrationSettings(vm="web1", steps=StepTimeouts(complete=10, answer=10, settle=20))
    handover = Handover(clock, scripted, scripted, SESSION, settings)  # type: ignore[arg-type]
    assert repr(handover) == "<Handover of session 01234567>"
    Deferred.fromCoroutine(handover.finish(True)).addCallbacks(got.append, lambda failure: got.append(failure.value))
    clock.pump([0.5] * round(seconds / 0.5))
    return got[0]


def test_it_took_over() -> None:
    scripted = Scripted(Finish="finished")
    assert finish(scripted) is None
    assert scripted.asked == ["Finish"]


def test_it_certainly_did_not() -> None:
    error = CommandFailed("no lock")
    scripted = Scripted(Finish=error, Query=["aborting"])
    assert finish(scripted) is error
    assert scripted.asked == ["Finish", "Query"]
    assert not scripted.hung_up  # there is something left to be said


@pytest.mark.parametrize("state", ["uncertain", "unknown"])
def test_it_says_that_it_did_not_but_cannot_know(state: str) -> None:
    """Whatever the error is: only a session that is given up is believed to be."""
    assert isinstance(finish(Scripted(Finish=MigrationError("cont was not answered"), Query=state)), OutcomeUnknown)


def test_it_says_that_it_did_not_and_is_gone() -> None:
    scripted = Scripted(Finish=MigrationError("something"), Query=LinkLost("cut"))
    error = finish(scripted)
    assert isinstance(error, OutcomeUnknown)
    assert "cut" in str(error)


def test_it_says_that_it_did_not_but_did() -> None:
    assert finish(Scripted(Finish=MigrationError("something"), Query="finished")) is None


@pytest.mark.bug
@pytest.mark.parametrize("fault", [TypeError("a bug"), KeyError("state"), AssertionError()])
@pytest.mark.parametrize("answers", [{"Finish": None}, {"Finish": LinkLost("cut"), "Query": None}], ids=["asked", "asked again"])
def test_a_fault_of_our_own_is_no_reason_to_let_it_run_here(fault: Exception, answers: dict[str, Any]) -> None:
    scripted = Scripted(**{name: fault if answer is None else answer for name, answer in answers.items()})
    error = finish(scripted)
    assert isinstance(error, OutcomeUnknown)
    assert f"a bug in nbdtun: {fault!r}" in str(error)


def test_it_does_not_know_itself() -> None:
    error = finish(Scripted(Finish=OutcomeUnknown("QEMU did not answer cont")))
    assert isinstance(error, OutcomeUnknown)
    assert str(error).startswith("web1 was handed over, but it is unknown whether it runs at the destination (QEMU did not answer cont).")


def test_the_answer_is_lost_and_fetched_again() -> None:
    scripted = Scripted(Finish=LinkLost("cut"), Query=["finishing", "finishing", "finished"])
    assert finish(scripted) is None
    assert scripted.opened == 1
    assert scripted.asked == ["Finish", "Query", "Query", "Query"]


def test_the_answer_is_late() -> None:
    scripted = Scripted(Finish=NoAnswer("late"), Query="finished")
    assert finish(scripted) is None
    assert scripted.clock.seconds() > 20
    assert scripted.asked == ["Finish", "Query"]


def test_a_late_answer_alone_does_not_say_that_it_did_not() -> None:
    """Else the guest would run at both ends."""
    error = finish(Scripted(Finish=NoAnswer("late"), Query=NoAnswer("late")))
    assert isinstance(error, OutcomeUnknown)


@pytest.mark.parametrize("state", ["prepared", "listening"])
def test_finish_was_lost_and_must_not_come_any_more(state: str) -> None:
    scripted = Scripted(Finish=LinkLost("cut"), Query=state, Abort="aborted")
    error = finish(scripted)
    assert isinstance(error, DestinationFailed)
    assert str(error) == "the destination did not take over: because"
    assert scripted.asked == ["Finish", "Query", "Abort"]


def test_it_was_quicker_than_the_abort() -> None:
    assert finish(Scripted(Finish=LinkLost("cut"), Query="listening", Abort="finished")) is None


@pytest.mark.parametrize("state", ["aborting", "aborted"])
def test_it_gave_up_by_itself(state: str) -> None:
    assert isinstance(finish(Scripted(Finish=LinkLost("cut"), Query=state)), DestinationFailed)


@pytest.mark.parametrize("state", ["unknown", "uncertain"])
def test_it_cannot_tell(state: str) -> None:
    error = finish(Scripted(Finish=LinkLost("cut"), Query=state))
    assert isinstance(error, OutcomeUnknown)
    assert f"the destination reports session {state}, machine paused" in str(error)


def test_nobody_answers_any_more() -> None:
    scripted = Scripted(Finish=LinkLost("cut"))
    scripted.reachable = False
    error = finish(scripted)
    assert isinstance(error, OutcomeUnknown)
    assert "(no route)" in str(error)


def test_every_command_is_of_the_protocol() -> None:
    assert {command.__name__ for command in (Finish, Query, Abort)} == {"Finish", "Query", "Abort"}
