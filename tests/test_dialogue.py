"""A dialogue: what is asked is answered, or fails in time; and what bounds a peer that asks too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, connect

from nbdtun.amp import MAX_ERROR, CheckedCommand, Text
from nbdtun.dialogue import MAX_PENDING, Dialogue
from nbdtun.errors import CommandFailed, ConfigError, LinkLost, MigrationError, NoAnswer, wire_errors
from tests.tunnel.stage.stranger import box


class Echo(CheckedCommand):
    arguments: ClassVar = [(b"text", Text())]
    response: ClassVar = [(b"text", Text())]
    errors = wire_errors(without=(ConfigError,))


class Unknown(CheckedCommand):
    """Which the other end does not have."""


class Tell(CheckedCommand):
    arguments: ClassVar = [(b"text", Text())]
    requiresAnswer = False


class End(Dialogue):
    failed = MigrationError
    channel = "speaking tube"
    other = "the bridge"
    here = "in the engine room"

    def __init__(self, clock: Clock, then: Any = None) -> None:
        super().__init__(clock)
        self.then = then
        self.got: list[str] = []
        self.lines: list[str] = []
        self.failures: list[Any] = []
        self.log: Any = SimpleNamespace(  # type: ignore[misc]
            warn=lambda text, **values: self.lines.append(text.format(**values)),
            failure=lambda text, failure: self.failures.append(failure.value),
        )

    @Echo.responder
    def echo(self, text: str) -> Deferred[Any]:
        self.got.append(text)

        async def work() -> dict[str, str]:
            if isinstance(self.then, Exception):
                raise self.then
            return {"text": text if self.then is None else await self.then}

        return self.respond(work)

    @Tell.responder
    def tell(self, text: str) -> dict[str, Any]:
        self.got.append(text)
        return {}


class Pair:
    def __init__(self, then: Any = None) -> None:
        self.clock = Clock()
        self.server, self.client = End(self.clock, then), End(self.clock)
        ends = FakeTransport(self.server, isServer=True), FakeTransport(self.client, isServer=False)
        self.pump = connect(self.server, ends[0], self.client, ends[1])
        self.results: list[Any] = []

    def begin(self, command: Any = Echo, seconds: float | None = 10.0, **arguments: Any) -> Deferred[Any]:
        asking = Deferred.fromCoroutine(self.client.ask(command, seconds=seconds, **arguments))
        asking.addCallbacks(self.results.append, lambda failure: self.results.append(failure.value))
        self.pump.flush()
        return asking

    def ask(self, command: Any = Echo, **arguments: Any) -> Any:
        self.results.clear()
        self.begin(command, **arguments)
        return self.results[0] if self.results else "waits"

    def say(self, data: bytes) -> None:
        self.client.transport.write(data)  # type: ignore[union-attr]
        self.pump.flush()


class TestAsk:
    def test_what_is_asked_is_answered(self) -> None:
        pair = Pair()
        assert repr(pair.client) == "<End connected>"
        assert pair.ask(text="ahead") == {"text": "ahead"}
        assert not pair.clock.getDelayedCalls()

    def test_an_answer_that_does_not_come_in_time(self) -> None:
        answer: Deferred[str] = Deferred()
        pair = Pair(answer)
        pair.begin(text="ahead")
        pair.clock.advance(9.9)
        assert pair.results == []
        pair.clock.advance(0.2)
        assert type(pair.results[0]) is NoAnswer
        assert str(pair.results[0]) == "the bridge has not answered Echo for 10 s"
        answer.callback("aye")  # late, which disturbs nobody
        pair.pump.flush()
        assert not pair.client.lost
        assert pair.client.lines == []
        pair.server.then = None
        assert pair.ask(text="again") == {"text": "again"}

    def test_an_answer_that_is_waited_for_as_long_as_it_takes(self) -> None:
        answer: Deferred[str] = Deferred()
        pair = Pair(answer)
        pair.begin(seconds=None, text="ahead")
        pair.clock.advance(1e6)
        answer.callback("aye")
        pair.pump.flush()
        assert pair.results == [{"text": "aye"}]

    def test_a_question_can_be_given_up(self) -> None:
        pair = Pair(Deferred())
        pair.begin(text="ahead").cancel()
        assert isinstance(pair.results[0], CancelledError)
        assert not pair.clock.getDelayedCalls()

    def test_a_command_that_the_other_end_does_not_have(self) -> None:
        outcome = Pair().ask(Unknown)
        assert type(outcome) is MigrationError
        assert str(outcome).startswith("the bridge failed at Unknown: ")

    @pytest.mark.parametrize("code", ["ghosts", "config", "UNKNOWN"])
    def test_an_error_of_a_later_release_keeps_its_words(self, code: str) -> None:
        pair = Pair(Deferred())
        pair.begin(text="ahead")
        pair.server.transport.write(box(_error="1", _error_code=code, _error_description="it is haunted", by="ghosts"))  # type: ignore[union-attr]
        pair.pump.flush()
        (error,) = pair.results
        assert type(error) is MigrationError
        assert str(error) == "the bridge failed at Echo: it is haunted; its log says more"

    def test_one_that_has_no_answer(self) -> None:
        pair = Pair()
        pair.client.notify(Tell, text="one\ntwo")
        pair.pump.flush()
        assert pair.server.got == ["one two"]


class TestLoss:
    def test_it_is_told_and_ends_what_waits(self) -> None:
        pair = Pair(Deferred())
        got: list[Any] = []
        pair.client.when_lost().addCallback(got.append)
        pair.begin(text="ahead")
        pair.client.hang_up()
        pair.pump.flush()
        assert pair.client.lost
        assert type(pair.results[0]) is LinkLost
        assert str(pair.results[0]) == "the speaking tube was lost before Echo was answered"
        pair.client.when_lost().addCallback(got.append)
        assert [str(error) for error in got] == ["the speaking tube to the bridge was lost"] * 2
        assert all(isinstance(error.__cause__, ConnectionClosed) for error in got), "its kind decides what is done next"
        pair.client.notify(Tell, text="x")  # goes nowhere
        pair.client.hang_up()
        assert repr(pair.client) == "<End lost>"
        assert type(pair.ask(text="ahead")) is LinkLost


class TestRespond:
    def test_an_error_of_ours_crosses_as_it_is(self) -> None:
        outcome = Pair(CommandFailed("x" * 100_000)).ask(text="ahead")
        assert type(outcome) is CommandFailed
        assert len(str(outcome)) == MAX_ERROR

    def test_one_that_is_no_business_of_the_other_end(self) -> None:
        outcome = Pair(ConfigError("/run is read-only")).ask(text="ahead")
        assert type(outcome) is MigrationError
        assert str(outcome) == "in the engine room: /run is read-only"

    def test_a_bug_reaches_the_peer_as_a_line_and_our_log_as_a_traceback(self) -> None:
        pair = Pair(ZeroDivisionError("oops"))
        outcome = pair.ask(text="ahead")
        assert type(outcome) is MigrationError
        assert str(outcome) == "internal error in the engine room: ZeroDivisionError('oops')"
        assert isinstance(pair.server.failures[0], ZeroDivisionError)


class TestBounds:
    def test_more_commands_at_a_time_than_anybody_needs_end_it(self) -> None:
        pair = Pair(Deferred())
        for _ in range(MAX_PENDING):
            assert pair.ask(text="x") == "waits"
        assert not pair.server.lost
        pair.ask(text="x")
        assert pair.server.lost
        assert len(pair.server.got) == MAX_PENDING

    def test_more_commands_in_all_than_anybody_needs_end_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nbdtun.dialogue.MAX_COMMANDS", 20)
        pair = Pair()
        assert all(pair.ask(text="x") == {"text": "x"} for _ in range(20))
        pair.ask(text="x")
        assert pair.server.lost

    @pytest.mark.parametrize(
        ("data", "line"),
        [
            (box(_command="Echo", _ask="1"), "speaking tube closed: Echo is malformed"),
            (box(_command="Echo"), "speaking tube closed: Echo is malformed"),
            (box(nothing="known"), "speaking tube closed: it does not speak the protocol: "),
            (box(nothing="x" * 60_000), "speaking tube closed: it does not speak the protocol: "),
        ],
    )
    def test_why_it_ends_is_one_short_line(self, data: bytes, line: str) -> None:
        pair = Pair()
        pair.say(data)
        assert pair.server.lost
        assert pair.server.failures == []
        assert pair.server.lines[0].startswith(line)
        assert len(pair.server.lines) == 1
        assert len(pair.server.lines[0]) < 300
