"""The control channel: what is asked is answered, errors keep their class, and nonsense does no harm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.protocols import amp

from nbdtun.errors import ConfigError, DestinationFailed, LinkLost, NbdtunError, NoAnswer, tree
from nbdtun.migration.control.channel import Control, remote_error
from nbdtun.migration.control.commands import NOT_ITS_TO_TELL, Abort, Ping, Trouble
from tests.migration.stage.talk import SESSION, Echo, Pair


class Carrier:
    """A tunnel that takes its time."""

    def __init__(self) -> None:
        self.connected: Deferred[None] = Deferred()

    async def control(self, protocol: Any) -> Any:
        await self.connected
        return protocol


def test_a_command_is_answered() -> None:
    pair = Pair(Echo())
    assert repr(pair.client) == "<Control connected>"
    assert pair.ask(Abort, session=SESSION) == {"state": "aborted"}
    assert pair.server.got == [SESSION]  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [error for error in tree(NbdtunError) if error not in NOT_ITS_TO_TELL])
def test_every_error_keeps_its_class_and_its_text(error: type[NbdtunError]) -> None:
    outcome = Pair(Echo(error("the reason, in one line"))).ask(Abort, session=SESSION)
    assert type(outcome) is error
    assert str(outcome) == "the reason, in one line"
    assert type(remote_error(error.code, "x")) is error


def test_a_code_of_a_later_version_is_a_failure_of_the_destination() -> None:
    assert type(remote_error("no-such-code", "x")) is DestinationFailed


@pytest.mark.parametrize("code", [b"unknown", b"config"])
def test_what_the_other_end_cannot_know_is_its_own_failure(code: bytes) -> None:
    """Else it could make a source stay paused, or blame an option."""
    told_by_command = Pair(Echo(amp.RemoteAmpError(code, "a lie"))).ask(Abort, session=SESSION)
    assert type(told_by_command) is DestinationFailed
    assert type(remote_error(code.decode(), "a lie")) is DestinationFailed
    assert type(Pair(Echo(ConfigError("/run is read-only"))).ask(Abort, session=SESSION)) is DestinationFailed


def test_a_reason_cannot_write_to_the_terminal() -> None:
    outcome = Pair(Echo(amp.RemoteAmpError(b"mirror", "\x1b[2J\nnbdtun: completed"))).ask(Abort, session=SESSION)
    assert str(outcome) == "?[2J nbdtun: completed"


def test_a_bug_reaches_the_peer_as_a_line_and_our_log_as_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(Echo())
    pair.server.then = ZeroDivisionError("oops")  # type: ignore[attr-defined]
    failures: list[Any] = []
    monkeypatch.setattr(pair.server, "log", SimpleNamespace(failure=lambda text, failure: failures.append(failure.value)))
    outcome = pair.ask(Abort, session=SESSION)
    assert str(outcome) == "internal error at the destination: ZeroDivisionError('oops')"
    assert isinstance(failures[0], ZeroDivisionError)


def test_a_lost_channel_says_which() -> None:
    pair = Pair(Echo(Deferred()))
    got: list[Any] = []
    for end in (pair.client, pair.server):
        end.when_lost().addCallback(got.append)
    pair.client.hang_up()
    pair.pump.flush()
    assert sorted(str(error) for error in got) == [
        "the control channel to the destination was lost",
        "the control channel to the source was lost",
    ]
    assert repr(pair.client) == "<Control lost>"


def test_a_destination_that_does_not_answer() -> None:
    pair = Pair(Echo(Deferred()))
    got: list[Any] = []
    asking = Deferred.fromCoroutine(pair.client.ask(Abort, seconds=10, session=SESSION))
    asking.addErrback(lambda failure: got.append(failure.value))
    pair.clock.advance(10)
    assert type(got[0]) is NoAnswer
    assert str(got[0]) == "the destination has not answered Abort for 10 s"


@pytest.mark.parametrize("carried", [True, False])
def test_it_is_opened_in_time_or_not_at_all(carried: bool) -> None:
    clock, carrier = Clock(), Carrier()
    control = Control(clock)
    got: list[Any] = []
    Deferred.fromCoroutine(control.open(carrier, 10)).addCallbacks(got.append, lambda failure: got.append(failure.value))  # type: ignore[arg-type]
    if carried:
        carrier.connected.callback(None)
        assert got == [control]
        return
    clock.advance(10)
    assert type(got[0]) is LinkLost
    assert str(got[0]) == "the destination could not be reached within 10 s"


def test_a_command_that_the_other_end_does_not_have() -> None:
    outcome = Pair(Echo()).ask(Ping)
    assert isinstance(outcome, DestinationFailed)
    assert "the destination failed at Ping" in str(outcome)


def test_trouble_needs_no_answer_and_is_made_printable() -> None:
    pair = Pair(Echo())
    pair.client.notify(Trouble, session=SESSION, code="mirror", reason="one\ntwo" + "x" * 5000)
    pair.pump.flush()
    ((code, reason),) = pair.server.got  # type: ignore[attr-defined]
    assert code == "mirror"
    assert reason.startswith("one two")
    assert len(reason) == 4000


def test_the_refusal_ends_the_channel() -> None:
    pair = Pair(Echo())
    got: list[Any] = []
    box = amp.Box({b"_command": b"Abort", b"_ask": b"1", b"session": b"../../etc/passwd"})
    pair.client.transport.write(box.serialize())  # type: ignore[union-attr]
    pair.client.when_lost().addCallback(got.append)
    pair.pump.flush()
    assert got
    assert pair.server.got == []  # type: ignore[attr-defined]


@given(st.binary(max_size=300))
def test_garbage_does_no_harm(data: bytes) -> None:
    pair = Pair(Echo())
    pair.client.transport.write(data)  # type: ignore[union-attr]
    pair.pump.flush()
    assert pair.server.got == []  # type: ignore[attr-defined]
