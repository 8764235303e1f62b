from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.test.iosim import FakeTransport, connect

from nbdtun.errors import CommandFailed, ConfigError, DestinationFailed, LinkLost, NbdtunError, ProtocolViolation, tree
from nbdtun.migration.commands import (
    MAX_DISKS,
    MAX_KEYS,
    MAX_PENDING,
    NOT_ITS_TO_TELL,
    Abort,
    Control,
    Number,
    Ping,
    Prepare,
    SessionId,
    Text,
    Trouble,
    answering,
    disks_of,
    rows_of,
    told,
)
from nbdtun.migration.disks import Disk

SESSION = "0123456789abcdef" * 2


class Echo(Control):
    """Answers Abort with whatever it is told to do."""

    def __init__(self, then: Any = None) -> None:
        super().__init__()
        self.then = then
        self.got: list[Any] = []

    @Abort.responder
    def abort(self, session: str) -> Any:
        self.got.append(session)
        if isinstance(self.then, amp.RemoteAmpError):
            raise self.then

        async def work() -> dict[str, str]:
            if isinstance(self.then, BaseException):
                raise self.then
            if isinstance(self.then, Deferred):
                await self.then
            return {"state": "aborted"}

        return answering(work, self.log)

    @Trouble.responder
    def trouble(self, session: str, code: str, reason: str) -> dict[str, Any]:
        self.got.append((code, reason))
        return {}

    @Prepare.responder
    def prepare(self, **arguments: Any) -> dict[str, Any]:
        self.got.append(arguments)
        return {"target": "t"}


class Pair:
    def __init__(self, server: Control) -> None:
        self.server, self.client = server, Control()
        self.ends = FakeTransport(server, isServer=True), FakeTransport(self.client, isServer=False)
        self.pump = connect(server, self.ends[0], self.client, self.ends[1])

    def ask(self, command: Any, **arguments: Any) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(self.client.ask(command, **arguments)).addCallbacks(got.append, lambda failure: got.append(failure.value))
        self.pump.flush()
        return got[0] if got else "waits"


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
    assert type(told(error.code, "x")) is error


def test_a_code_of_a_later_version_is_a_failure_of_the_destination() -> None:
    assert type(told("no-such-code", "x")) is DestinationFailed


@pytest.mark.parametrize("code", [b"unknown", b"config"])
def test_what_the_other_end_cannot_know_is_its_own_failure(code: bytes) -> None:
    """Else it could make a source stay paused, or blame an option."""
    told_by_command = Pair(Echo(amp.RemoteAmpError(code, "a lie"))).ask(Abort, session=SESSION)
    assert type(told_by_command) is DestinationFailed
    assert type(told(code.decode(), "a lie")) is DestinationFailed
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
    monkeypatch.setattr("nbdtun.migration.commands.MAX_COMMANDS", 20)
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


def test_disks_cross() -> None:
    disks = (Disk("vda", "", "vda-dev", 1 << 40), Disk("#block1", "ide0-hd0", "/machine/unattached/device[16]", 512))
    pair = Pair(Echo())
    arguments = {"version": 1, "session": SESSION, "vm": "wéb1", "machine": "m", "memory": 5}
    assert pair.ask(Prepare, disks=rows_of(disks), **arguments) == {"target": "t"}
    (got,) = pair.server.got  # type: ignore[attr-defined]
    assert disks_of(got.pop("disks")) == disks
    assert got == arguments


def test_as_many_disks_as_are_allowed_fit_into_a_message() -> None:
    disks = (Disk("n" * 255, "d" * 255, "/" + "q" * 254, 1 << 62),) * MAX_DISKS
    arguments = {"version": 1, "session": SESSION, "vm": "w" * 255, "machine": "m", "memory": 5}
    assert Pair(Echo()).ask(Prepare, disks=rows_of(disks), **arguments) == {"target": "t"}
    refused = Pair(Echo()).ask(Prepare, disks=rows_of(disks + disks[:1])[:65], **(arguments | {"vm": "w"}))
    assert isinstance(refused, NbdtunError | LinkLost)


@pytest.mark.parametrize(
    ("argument", "data"),
    [
        (SessionId(), b"x" * 32),
        (SessionId(), b"0" * 31),
        (SessionId(), b"0" * 32 + b"\n"),
        (SessionId(), "é".encode() * 16),
        (Number(), b"-1"),
        (Number(), b"1" * 21),
        (Number(5), b"6"),
        (Number(), b""),
        (Number(), "²".encode()),
        (Text(3), b"four"),
        (Text(), b"two\nlines"),
        (Text(), b"\x1b[2J"),
    ],
)
def test_what_is_out_of_bounds_is_refused(argument: Any, data: bytes) -> None:
    with pytest.raises(amp.RemoteAmpError) as caught:
        argument.fromString(data)
    assert caught.value.errorCode == b"protocol"
    assert caught.value.fatal


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


@given(st.text(max_size=255))
def test_whatever_text_is_sent_can_be_read(text: str) -> None:
    sent = Text().toString(text)
    assert len(Text().fromString(sent)) <= 255
