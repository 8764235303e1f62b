"""The control channel: what is asked is answered, errors keep their class, and nonsense does no harm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.protocols import amp

from nbdtun.errors import CommandFailed, ConfigError, DestinationFailed, LinkLost, NbdtunError, ProtocolViolation, tree
from nbdtun.migration.arguments import MAX_KEYS
from nbdtun.migration.control.channel import MAX_PENDING, remote_error
from nbdtun.migration.control.commands import NOT_ITS_TO_TELL, Abort, Ping, Trouble
from tests.migration.stage.talk import SESSION, Echo, Pair


def test_a_command_is_answered() -> None:
    pair = Pair(Echo())
    assert repr(pair.client) == "<Control connected>"
    assert pair.ask(Abort, session=SESSION) == {"state": "aborted"}
    assert pair.server.got == [SESSION]  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [error for error in tree() if error not in NOT_ITS_TO_TELL])
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


class Secure(amp.Command):
    """As AMP's own StartTLS, which wants pyOpenSSL before it can be asked."""

    commandName = b"StartTLS"


def test_amps_own_commands_are_not_answered() -> None:
    outcome = Pair(Echo()).ask(Secure)
    assert type(outcome) is DestinationFailed
    assert "it does not know that command" in str(outcome)


def test_more_commands_at_a_time_than_anybody_needs_end_the_channel() -> None:
    pair = Pair(Echo(Deferred()))
    for _ in range(MAX_PENDING):
        assert pair.ask(Abort, session=SESSION) == "waits"
    assert not pair.server.lost
    pair.ask(Abort, session=SESSION)
    assert pair.server.lost
    assert len(pair.server.got) == MAX_PENDING  # type: ignore[attr-defined]


def test_more_commands_in_all_than_anybody_needs_end_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.migration.control.channel.MAX_COMMANDS", 20)
    pair = Pair(Echo())
    assert all(pair.ask(Abort, session=SESSION) == {"state": "aborted"} for _ in range(20))
    pair.ask(Abort, session=SESSION)
    assert pair.server.lost


def test_a_bug_reaches_the_peer_as_a_line_and_our_log_as_a_traceback() -> None:
    pair = Pair(Echo())
    pair.server.then = ZeroDivisionError("oops")  # type: ignore[attr-defined]
    failures: list[Any] = []
    pair.server.log = SimpleNamespace(failure=lambda text, failure: failures.append(failure.value))
    outcome = pair.ask(Abort, session=SESSION)
    assert str(outcome) == "internal error at the destination: ZeroDivisionError('oops')"
    assert isinstance(failures[0], ZeroDivisionError)


def test_a_very_long_reason_is_cut() -> None:
    outcome = Pair(Echo(CommandFailed("x" * 100_000))).ask(Abort, session=SESSION)
    assert type(outcome) is CommandFailed
    assert len(str(outcome)) == 4000


def test_a_lost_channel_is_told_and_ends_what_waits() -> None:
    pair = Pair(Echo(Deferred()))
    lost = pair.client.when_lost()
    waiting: list[Any] = []
    Deferred.fromCoroutine(pair.client.ask(Abort, session=SESSION)).addErrback(lambda failure: waiting.append(failure.value))
    pair.client.transport.loseConnection()  # type: ignore[union-attr]
    pair.pump.flush()
    assert pair.client.lost
    assert isinstance(waiting[0], LinkLost)
    assert "before Abort was answered" in str(waiting[0])
    got: list[Any] = []
    lost.addCallback(got.append)
    pair.client.when_lost().addCallback(got.append)
    assert [str(error) for error in got] == ["the control channel to the other end was lost"] * 2
    pair.client.notify(Trouble, session=SESSION, code="mirror", reason="x")  # goes nowhere
    assert repr(pair.client) == "<Control lost>"


def test_a_command_that_the_other_end_does_not_have() -> None:
    outcome = Pair(Echo()).ask(Ping)
    assert isinstance(outcome, DestinationFailed)
    assert "the other end failed at Ping" in str(outcome)


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


def test_a_message_with_too_many_fields_ends_the_channel() -> None:
    pair = Pair(Echo())
    box = amp.Box({b"k%d" % number: b"v" for number in range(MAX_KEYS + 1)})
    pair.client.transport.write(box.serialize())  # type: ignore[union-attr]
    pair.pump.flush()
    assert pair.server.lost
    assert ProtocolViolation.code  # its text is in the log


@given(st.binary(max_size=300))
def test_garbage_does_no_harm(data: bytes) -> None:
    pair = Pair(Echo())
    pair.client.transport.write(data)  # type: ignore[union-attr]
    pair.pump.flush()
    assert pair.server.got == []  # type: ignore[attr-defined]
