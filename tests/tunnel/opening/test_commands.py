"""The commands that begin a link, as they stand on the wire; and that nonsense from a peer is the peer's fault."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.protocols import amp

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.opening.commands import IDENT_SIZE, TUNNEL, Answer, OpenChannel, ResumeChannel
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
        (b"lowest", b"one", "not a number from 0 to"),
        (b"features", b"A B", "not a list of features"),
        (b"window", b"9" * 30, "not a number from 0 to"),
        (b"target", b"\xff", "OpenChannel is malformed"),
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


def test_an_answer_arrives_as_it_was_given() -> None:
    box = ResumeChannel.makeResponse(Answer(Protocol(), AGREED, 5, 1 << 20), None)
    assert ResumeChannel.parseResponse(amp.AmpBox(box), None) == AGREED.fields() | {"received": 5, "window": 1 << 20}


@pytest.mark.parametrize("box", [{}, {b"received": b"5"}, CHOSEN | {b"received": b"-5", b"window": b"1"}])
def test_an_answer_that_is_none(box: dict[bytes, bytes]) -> None:
    with pytest.raises(ProtocolViolation, match="the answer to ResumeChannel is malformed"):
        ResumeChannel.parseResponse(amp.AmpBox(box), None)
