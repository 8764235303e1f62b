"""The commands that begin a link, as they stand on the wire; and that nonsense from a peer is the peer's fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.protocols import amp

from nbdtun.amp import Refused
from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.opening.commands import IDENT_SIZE, TUNNEL, Answer, Greet, OpenChannel, ResumeChannel
from nbdtun.versions import Agreed

CHANNEL = b"c" * IDENT_SIZE
AGREED = Agreed(1, frozenset({"ghosts"}))
CHOSEN = {b"version": b"1", b"features": b""}
OPEN = {**TUNNEL.offer(), "channel": CHANNEL, "target": "nbd", "window": 1 << 20}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (OpenChannel, OPEN),
        (OpenChannel, {**OPEN, "urgent": True}),
        (ResumeChannel, {**TUNNEL.offer(), "channel": CHANNEL, "received": 2**40}),
    ],
)
def test_a_question_arrives_as_it_was_asked(command: Any, arguments: dict[str, Any]) -> None:
    box = command.makeArguments(arguments, None)
    got = command.parseArguments(box, None)
    assert {name: value for name, value in got.items() if value is not None} == arguments


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        (b"lowest", b"one", "not a number from 1 to 65535"),
        (b"features", b"A B", "not a list of features"),
        (b"window", b"9" * 30, "not a number from 65536 to"),
        (b"target", b"\xff", "a text that is not UTF-8"),
        (b"channel", None, "OpenChannel is malformed"),
    ],
)
def test_nonsense_is_answered_with_an_error_and_no_traceback(field: bytes, value: bytes | None, line: str) -> None:
    box = OpenChannel.makeArguments(OPEN, None)
    if value is None:
        del box[field]
    else:
        box[field] = value
    with pytest.raises(amp.RemoteAmpError) as caught:
        OpenChannel.parseArguments(box, None)
    assert caught.value.errorCode == ProtocolViolation.code.encode()
    assert caught.value.description.startswith(line)


#: The bounds of docs/protocol: for each field, values at them and beyond them.
BOUNDS: dict[bytes, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
    b"lowest": ((b"1", b"0001", b"65535"), (b"0", b"65536", b"-1", b"+1", b"1.0", b"", b"0" * 20 + b"1")),
    b"highest": ((b"1", b"65535"), (b"0", b"65536")),
    b"version": ((b"1", b"65535"), (b"0", b"65536")),
    b"features": ((b"", b"a", b" ".join([b"a" * 32] * 32), b"0-z"), (b"a" * 33, b" ".join([b"a"] * 33), b"-a", b"A", b"a  b", b"a_b")),
    b"channel": ((bytes(16),), (b"", bytes(15), bytes(17))),
    b"secret": ((bytes(32),), (b"", bytes(31), bytes(33))),
    b"session": ((bytes(32),), (b"", bytes(31), bytes(33))),
    b"target": ((b"t" * 64, "é x".encode()), (b"\xff", b"a\n", "\u2028".encode())),
    b"window": ((b"65536", b"%d" % (2**64 - 1)), (b"65535", b"0", b"%d" % 2**64)),
    b"urgent": ((b"True", b"False"), (b"true", b"1", b"")),
    b"received": ((b"0", b"%d" % (2**64 - 1)), (b"-1", b"%d" % 2**64)),
    b"ended": ((b"", "é".encode() * 255), (b"x" * 256, b"\x1b[2J")),
    b"refusal": ((b"", "é".encode() * 255), (b"x" * 256, b"\x1b[2J")),
}
WHOLE: dict[Any, dict[str, Any]] = {
    Greet: {**TUNNEL.offer(), "refusal": "why"},
    OpenChannel: {**OPEN, "secret": bytes(32), "session": bytes(32), "urgent": True},
    ResumeChannel: {**TUNNEL.offer(), "channel": CHANNEL, "secret": bytes(32), "received": 0, "ended": "why"},
}
ANSWERS: dict[Any, amp.AmpBox] = {
    Greet: amp.AmpBox(CHOSEN),
    OpenChannel: amp.AmpBox(CHOSEN | {b"received": b"0", b"window": b"65536"}),
    ResumeChannel: amp.AmpBox(CHOSEN | {b"received": b"0", b"window": b"65536"}),
}


def bounds(inside: bool) -> Iterator[tuple[Any, bytes, bytes]]:
    """Each command, field and value on this side of its bounds; of questions, and then of answers."""
    for command, told in WHOLE.items():
        for name in (*command.makeArguments(told, None), *ANSWERS[command]):
            yield from ((command, name, value) for value in BOUNDS[name][0 if inside else 1])


def parsed(command: Any, name: bytes, value: bytes) -> list[Any]:
    """The question and the answer, with this ``value`` where they have the field."""
    both = ((command.makeArguments(WHOLE[command], None), command.parseArguments), (ANSWERS[command], command.parseResponse))
    return [parse(amp.AmpBox({**box, name: value}), None) for box, parse in both if name in box]


def test_every_field_has_its_bounds() -> None:
    fields = {name for command in WHOLE for name, _ in (*command.arguments, *command.response)}
    assert fields == BOUNDS.keys()


@pytest.mark.parametrize(("command", "name", "value"), [*bounds(True)])
def test_within_the_bounds(command: Any, name: bytes, value: bytes) -> None:
    assert all(parsed(command, name, value))


@pytest.mark.parametrize(("command", "name", "value"), [*bounds(False)])
def test_beyond_the_bounds(command: Any, name: bytes, value: bytes) -> None:
    with pytest.raises((Refused, ProtocolViolation)):
        parsed(command, name, value)


def test_an_answer_arrives_as_it_was_given() -> None:
    box = ResumeChannel.makeResponse(Answer(Protocol(), AGREED, 5, 1 << 20), None)
    assert ResumeChannel.parseResponse(amp.AmpBox(box), None) == AGREED.fields() | {"received": 5, "window": 1 << 20}


@pytest.mark.parametrize("box", [{}, {b"received": b"5"}, CHOSEN | {b"received": b"-5", b"window": b"1"}])
def test_an_answer_that_is_none(box: dict[bytes, bytes]) -> None:
    with pytest.raises(ProtocolViolation, match="the answer to ResumeChannel is malformed"):
        ResumeChannel.parseResponse(amp.AmpBox(box), None)
