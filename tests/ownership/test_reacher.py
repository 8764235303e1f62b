"""The endpoint that connects to sockets that others listen on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from nbdtun.ownership import reacher as module
from nbdtun.ownership.reach import reach
from nbdtun.ownership.reacher import Reacher

MALLORY, EVE = 4711, 4712
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")


class Hello(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")


def connect(path: Path) -> Reacher:
    from twisted.internet import reactor

    return Reacher(reactor, str(path))


@ensureDeferred
async def test_as_an_endpoint(place: Path, listening: socket.socket) -> None:
    from twisted.internet import reactor

    protocol = await connectProtocol(connect(place / "s"), Hello())
    theirs, _ = listening.accept()
    with theirs:
        await deferLater(reactor, 0.05)
        assert theirs.recv(5, socket.MSG_DONTWAIT) == b"hello"
    protocol.transport.abortConnection()
    with pytest.raises(FileNotFoundError):
        await connectProtocol(connect(place / "none"), Hello())
    factory: Factory[Protocol] = Factory()
    factory.buildProtocol = lambda addr: None  # type: ignore[method-assign]
    with pytest.raises(ConnectionAbortedError):
        await connect(place / "s").connect(factory)


@ensureDeferred
async def test_a_server_that_is_slow_to_accept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full; somebody waits until there is room, and somebody else gives up."""
    from twisted.internet import reactor

    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(f"{place}/s")
        slow.listen(0)
        first = reach(f"{place}/s")
        reactor.callLater(0.05, slow.accept)
        second = await connectProtocol(connect(place / "s"), Protocol())
        monkeypatch.setattr(module, "QUEUE_SECONDS", 0.05)
        with pytest.raises(BlockingIOError):
            await connectProtocol(connect(place / "s"), Protocol())
    first.close()
    second.transport.abortConnection()
