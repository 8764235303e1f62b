"""What becomes of each session when its daemon is about to end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from nbdtun.errors import NbdtunError, ShuttingDown
from nbdtun.migration.bond import Claim
from nbdtun.migration.check.command import Check
from nbdtun.migration.control.commands import MIGRATION, Abort, Finish, Listen, Prepare
from nbdtun.migration.destination.draining import Draining
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.register import FAREWELL_SECONDS
from nbdtun.migration.source.session_client import SourceControl
from tests.migration.stage.asking import OTHER, Talk
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.talk import SESSION


class Drained(Talk):
    """A talk with a daemon that is about to end; ``told`` is what its source hears unasked."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Exception] = []
        self.client = SourceControl(self.stage.clock, self.told.append)  # type: ignore[assignment]
        Deferred.fromCoroutine(self.stage.control(self.client))
        self.draining = Draining(self.stage.daemon)

    def begin(self, work: Any) -> Deferred[Any]:
        working = Deferred.fromCoroutine(work)
        self.stage.turn(0.1)
        return working

    @property
    def state(self) -> State:
        return self.stage.daemon.register.session(SESSION, Claim()).state


def test_a_session_that_copies_disks_is_left_without_a_word() -> None:
    talk = Drained()
    talk.prepare()
    assert talk.begin(talk.draining.begin()).called
    assert talk.begin(talk.draining.received()).called
    assert talk.state is State.PREPARED
    assert talk.begin(talk.draining.leave()).called
    assert talk.told == []
    assert talk.stage.leftovers() == []
    assert talk.stage.destination.alive


def test_what_it_left_is_said(said: list[str]) -> None:
    talk = Drained()
    talk.prepare()
    talk.begin(talk.draining.leave())
    assert said[-1] == f"web1: session {SESSION[:8]} is left to the next daemon"


def test_memory_and_its_handover_are_waited_for() -> None:
    talk = Drained()
    talk.prepare()
    talk.ask(Listen, bitmaps=[])
    talk.begin(talk.draining.begin())
    waiting = talk.begin(talk.draining.received())
    assert (waiting.called, talk.draining.receiving) == (False, ["web1"])
    talk.stage.destination.arrived()
    assert talk.ask(Finish, run=True, settle=0) == {}
    assert (waiting.called, talk.draining.receiving) == (False, [])  # its source has yet to read the answer
    talk.client.hang_up()
    talk.stage.cut()
    talk.stage.turn(0.1)
    assert waiting.called
    assert talk.told == []
    assert talk.stage.destination.state == "running"


def test_a_source_that_stays_is_not_waited_for_for_ever() -> None:
    talk = Drained()
    talk.prepare()
    talk.ask(Abort)
    waiting = talk.begin(talk.draining.received())
    assert not waiting.called
    talk.stage.turn(FAREWELL_SECONDS + 1)
    assert waiting.called


def test_disks_that_are_copied_meanwhile_may_go_on_to_their_memory() -> None:
    talk = Drained()
    talk.prepare()
    talk.begin(talk.draining.begin())
    assert talk.ask(Listen, bitmaps=[]) == {"target": f"ram.{SESSION}", "bitmaps": [], "connections": None}
    assert talk.draining.receiving == ["web1"]


def test_a_new_session_is_refused_and_may_be_tried_again() -> None:
    talk = Drained()
    talk.begin(talk.draining.begin())
    error = talk.prepare()
    assert isinstance(error, ShuttingDown)
    assert str(error) == "web1: the destination's daemon is shutting down; migrate it when the daemon has been restarted"
    assert talk.stage.leftovers() == []


def test_a_check_says_so_too() -> None:
    talk = Drained()
    talk.begin(talk.draining.begin())
    asking = talk.client.ask(Check, seconds=None, **MIGRATION.offer(), vm="web1", hardware=HARDWARE, disks=[], bitmaps=[], allowed=[])
    answer = talk.begin(asking)
    assert [row["code"] for row in answer.result["findings"]] == ["shutting-down"]  # type: ignore[index]


def test_a_session_that_is_still_being_prepared_is_refused() -> None:
    talk = Drained()
    talk.stage.destination.hangs.add("query-block")
    preparing: list[Any] = []
    asking = Deferred.fromCoroutine(_prepare(talk))
    asking.addErrback(lambda failure: preparing.append(failure.value))
    talk.stage.turn(0.1)
    assert talk.state is State.PREPARING
    assert talk.begin(talk.draining.begin()).called
    talk.stage.turn(0.1)
    assert [type(error) for error in preparing] == [ShuttingDown]


async def _prepare(talk: Drained) -> Any:
    return await talk.client.ask(
        Prepare, seconds=None, session=SESSION, **MIGRATION.offer(), vm="web1", hardware=HARDWARE, disks=[], bitmaps=[], allowed=[]
    )


def test_when_the_time_is_up_memory_is_ended_and_its_source_told_why() -> None:
    talk = Drained()
    talk.prepare()
    talk.ask(Listen, bitmaps=[])
    ending = talk.begin(talk.draining.end("the time is up"))
    assert [str(error) for error in talk.told] == ["web1: the time is up; web1 stays at the source; migrate it again when the daemon runs"]
    assert talk.state is State.ABORTED
    talk.stage.turn(FAREWELL_SECONDS + 1)
    assert ending.called


def test_a_wait_that_is_cancelled_undoes_nothing_by_itself() -> None:
    talk = Drained()
    talk.prepare()
    talk.ask(Listen, bitmaps=[])
    waiting = talk.begin(talk.draining.received())
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result.raiseException()  # type: ignore[attr-defined]
    waiting.addErrback(lambda _: None)
    assert talk.state is State.LISTENING
    assert repr(talk.draining) == "<Draining of <Sessions of web1, 1 sessions>>"


def test_another_session_can_be_begun_after_the_next_daemon_has_started() -> None:
    """As the source of a left session does it, with the same id."""
    talk = Drained()
    talk.prepare()
    talk.begin(talk.draining.leave())
    talk.stage.new_daemon()
    assert talk.prepare(talk.connect()) == f"nbd.{SESSION}"
    assert isinstance(talk.prepare(talk.connect(), session=OTHER), NbdtunError)
