"""The door: what strangers to the dialogue get, and links. The dialogue itself has its tests in test_near, with both ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun.reach import far
from nbdtun.reach.greeting import far_proof, link, mark
from tests.reach.stage import SECRET, FakeReceiver


class Stranger(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.gone: Deferred[None] = Deferred()
        self.answered: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if not self.answered.called:
            self.answered.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


async def enter(base: Path, *pieces: bytes) -> Any:
    stranger = await connectProtocol(UNIXClientEndpoint(reactor, f"{base}/door.sock"), Stranger())
    for piece in pieces:
        stranger.transport.write(piece)
    return stranger


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"link " + b"0" * 64 + b"\n", b"x" * 1000, b"talk\nand more"])
@pytest_twisted.ensureDeferred
async def test_a_stranger_is_turned_away(receiver: FakeReceiver, base: Path, line: bytes) -> None:
    stranger = await enter(base, line)
    await stranger.gone
    assert stranger.data == b""
    assert (receiver.talks, receiver.linked) == ([], [])


@pytest_twisted.ensureDeferred
async def test_one_that_says_nothing_may_not_stay(receiver: FakeReceiver, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "FIRST_LINE", 0.05)
    await (await enter(base, b"tal")).gone


@pytest_twisted.ensureDeferred
async def test_a_link_is_given_away(receiver: FakeReceiver, base: Path) -> None:
    near = await enter(base, *link(SECRET).partition(b" "))
    await near.answered
    assert near.data == mark(far_proof(SECRET))
    assert [secret for _, secret in receiver.linked] == [SECRET]
    near.transport.abortConnection()
    await near.gone
