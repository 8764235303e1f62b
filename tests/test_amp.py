"""AMP with a peer that is not trusted: bounds of arguments, and what becomes of a peer that does not keep to them."""

from __future__ import annotations

import random
import zlib
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.test.iosim import FakeTransport, connect

from nbdtun.amp import MAX_JSON, MAX_KEYS, CheckedCommand, Flag, Number, Object, Peer, Refused, Rows, Text
from nbdtun.errors import CommandFailed, ProtocolViolation, wire_errors
from nbdtun.migration.control.commands import SessionId, Settled
from tests.failures import nothing_logged
from tests.tunnel.stage.stranger import box

SHORT = 120
"""Characters that a line about a refusal may have, whatever the peer has sent."""

PAIR = [(b"name", Text()), (b"size", Number())]


@pytest.mark.parametrize(
    ("argument", "data"),
    [
        (SessionId(), b"x" * 32),
        (SessionId(), b"0" * 31),
        (SessionId(), b"0" * 32 + b"\n"),
        (SessionId(), "é".encode() * 16),
        (Settled(), b"perhaps"),
        (Settled(), b"ARRIVED"),
        (Settled(), b""),
        (Number(), b"-1"),
        (Number(), b"1" * 21),
        (Number(5), b"6"),
        (Number(), b""),
        (Number(), "²".encode()),
        (Text(3), b"four"),
        (Text(), b"two\nlines"),
        (Text(), b"\xff"),
        (Number(least=1), b"0"),
        (Text(), b"\x1b[2J"),
        (Flag(), b"maybe"),
        (Flag(), b"true"),
        (Flag(), b""),
        (Flag(), b"x" * 60_000),
    ],
)
def test_what_is_out_of_bounds_is_refused(argument: Any, data: bytes) -> None:
    with pytest.raises(amp.RemoteAmpError) as caught:
        argument.fromString(data)
    assert caught.value.errorCode == b"protocol"
    assert caught.value.fatal
    assert len(str(caught.value)) < SHORT


@pytest.mark.parametrize(
    "data",
    [
        box(name="a"),
        box(size=1),
        box(name="a", size="many"),
        box(name="a", size=1) * 3,
        b"\0\0" * 1000,
        b"\1\0" + b"k" * 256,
        box(name="a", size=1)[:-2],
        box(name="a", size=1)[:-1],
        box(name="a", size=1) + b"\0",
        box(name="a", size=1) + b"\0\4na",
        box(name="a", size=1).replace(b"\0\0", b"\0\4name\0\1b\0\0"),
        box(name="a", size=1, **{f"k{number}": "" for number in range(31)}),
    ],
)
def test_a_list_that_is_none_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        Rows(PAIR, 2).fromStringProto(data, None)
    assert len(str(caught.value)) < SHORT


def test_unknown_fields_of_a_row_are_ignored_up_to_their_number() -> None:
    more = {f"k{number}": "" for number in range(30)}
    assert Rows(PAIR, 2).fromStringProto(box(name="a", size=1, **more), None) == [{"name": "a", "size": 1}]


def test_a_list_crosses() -> None:
    rows = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]
    argument = Rows(PAIR, 2)
    assert argument.fromStringProto(argument.toStringProto(rows, None), None) == rows


@given(st.text(max_size=255))
def test_whatever_text_is_sent_can_be_read(text: str) -> None:
    sent = Text().toString(text)
    assert len(Text().fromString(sent)) <= 255


@pytest.mark.parametrize("flag", [True, False])
def test_a_flag_is_written_as_amp_writes_a_boolean(flag: bool) -> None:
    assert Flag().toString(flag) == amp.Boolean().toString(flag)
    assert Flag().fromString(Flag().toString(flag)) is flag


class Greet(CheckedCommand):
    arguments: ClassVar = [(b"name", Text()), (b"loud", Flag(optional=True))]
    response: ClassVar = [(b"greeting", Text())]
    errors = wire_errors()


class Ask(Greet):
    """As Greet, but a peer may try again."""

    fatal = False


class Secure(amp.Command):
    """As AMP's own StartTLS, which wants pyOpenSSL before it can be asked."""

    commandName = b"StartTLS"


class Host(Peer):
    """Greets, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.error: Exception | None = None

    def command_refused(self, reason: str) -> None:
        self.refused.append(reason)

    @Greet.responder
    def greet(self, name: str, loud: bool | None) -> dict[str, str]:
        if self.error is not None:
            raise self.error
        return {"greeting": f"hello {name}{'!' if loud else ''}"}

    @Ask.responder
    def ask(self, name: str, loud: bool | None) -> dict[str, str]:
        return self.greet(name, loud)


class Talk:
    """A host, and a guest that may say anything."""

    def __init__(self) -> None:
        self.host, self.guest = Host(), Peer()
        ends = FakeTransport(self.host, isServer=True), FakeTransport(self.guest, isServer=False)
        self.pump = connect(self.host, ends[0], self.guest, ends[1])
        self.ends = ends

    def ask(self, command: Any, **arguments: Any) -> Any:
        got: list[Any] = []
        self.guest.callRemote(command, **arguments).addCallbacks(got.append, lambda failure: got.append(failure.value))
        self.pump.flush()
        return got[0] if got else "waits"

    def say(self, data: bytes) -> None:
        with nothing_logged():
            self.ends[1].write(data)
            self.pump.flush()

    @property
    def closed(self) -> bool:
        return bool(self.ends[0].disconnected)


def test_a_command_is_answered() -> None:
    talk = Talk()
    assert talk.ask(Greet, name="Ada") == {"greeting": "hello Ada"}
    assert talk.ask(Greet, name="Ada", loud=True) == {"greeting": "hello Ada!"}
    assert not talk.closed
    assert talk.host.refused == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "Greet is malformed"),
        ({"name": "Ada", "loud": "maybe"}, "neither True nor False"),
        ({"name": "Ada", "loud": "x" * 15_000}, "neither True nor False"),
        ({"name": "A" * 15_000}, "a text of 15000 characters is too long (the limit is 255), or is not printable"),
    ],
)
def test_a_malformed_command_is_one_short_line_and_no_traceback(fields: dict[str, str], reason: str) -> None:
    talk = Talk()
    talk.say(box(_command="Greet", _ask="1", **fields))
    assert talk.host.refused == [reason]
    assert talk.closed


def test_a_command_may_leave_the_connection_to_its_peer() -> None:
    talk = Talk()
    got: list[Any] = []
    talk.guest.callRemoteString(b"Ask").addErrback(got.append)
    talk.pump.flush()
    assert got[0].value.errorCode == b"protocol"
    assert talk.host.refused == ["Ask is malformed"]
    assert talk.ask(Ask, name="Ada") == {"greeting": "hello Ada"}


def test_a_malformed_answer_is_the_peers_fault() -> None:
    for fields in ({}, {b"greeting": b"\x1b[2J"}):
        with pytest.raises(ProtocolViolation, match="the answer to Greet is malformed"):
            Greet.parseResponse(amp.AmpBox(fields), None)


def test_a_reason_cannot_write_to_the_terminal() -> None:
    talk = Talk()
    talk.host.error = CommandFailed("\x1b[2J\nnbdtun: completed")
    assert str(talk.ask(Greet, name="Ada")) == "?[2J nbdtun: completed"


def test_amps_own_commands_are_not_answered() -> None:
    assert isinstance(Talk().ask(Secure), amp.UnhandledCommand)


@pytest.mark.parametrize(
    "data",
    [
        box(**{f"k{number}": "v" for number in range(MAX_KEYS + 1)}),
        box(nothing="known"),
        box(_answer="7"),
        box(_error="7"),
        box(_error="7", _error_code="X", _error_description="?"),
        box(_command="Greet", _ask="1", _answer="1", name="Ada"),
        box(_command=b"\xff\xfe", _ask="1"),
        box(_command="Greet", _ask="1", name="Ada")[:-2] + box(name="Eve"),
        b"\0\0",
        b"\xff" * 3000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_question_and_no_answer_ends_the_connection(data: bytes) -> None:
    talk = Talk()
    talk.say(data)
    assert talk.closed


def test_what_comes_in_one_piece_with_a_violation_is_not_obeyed() -> None:
    talk = Talk()
    talk.say(box(nothing="known") + box(_command="Greet", _ask="1"))
    assert talk.host.refused == []


@given(st.binary(max_size=300))
def test_garbage_does_no_harm(data: bytes) -> None:
    Talk().say(data)


def test_connections_that_come_and_go_are_not_worth_a_line(said: list[str]) -> None:
    talk = Talk()
    talk.ends[1].loseConnection()
    talk.pump.flush()
    assert talk.closed
    assert said == []


def test_a_large_object_crosses() -> None:
    plan = {"disks": [{"path": f"/srv/vm/{number}.qcow2"} for number in range(10_000)]}
    assert Object().fromString(Object().toString(plan)) == plan


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        zlib.compress(b"[]"),
        zlib.compress(b"{"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(b"{}")[:-1],
        zlib.compress(b'{"a":"' + bytes(MAX_JSON) + b'"}'),
    ],
)
def test_no_other_object_crosses(data: bytes) -> None:
    with pytest.raises(Refused, match="not a JSON object"):
        Object().fromString(data)


def test_an_object_that_cannot_cross_is_noticed_at_home() -> None:
    noise: dict[str, Any] = {"noise": random.Random(1).randbytes(100_000).hex()}
    with pytest.raises(ValueError, match="too large for the dialogue"):
        Object().toString(noise)
