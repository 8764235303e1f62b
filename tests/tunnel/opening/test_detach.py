"""A connection's socket changes hands, ready for what it is to carry; what has no socket says so."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import StringTransport

from nbdtun.errors import ConfigError
from nbdtun.tunnel.opening.detach import connect, detach


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def dialled(listener: socket.socket) -> TCP4ClientEndpoint:
    from twisted.internet import reactor

    return TCP4ClientEndpoint(reactor, *listener.getsockname())


@ensureDeferred
async def test_what_is_dialled_is_ours_and_prompt(listener: socket.socket) -> None:
    ours = await connect(dialled(listener))
    theirs, _ = listener.accept()
    with ours, theirs:
        theirs.sendall(b"for us, not for the reactor")
        ours.settimeout(5)
        assert ours.recv(100) == b"for us, not for the reactor"
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@ensureDeferred
async def test_nobody_there(listener: socket.socket) -> None:
    endpoint = dialled(listener)
    listener.close()
    with pytest.raises(Refused):
        await connect(endpoint)


def test_what_has_no_socket_says_what_would_have_one() -> None:
    with pytest.raises(ConfigError, match="StringTransport has no socket of its own; use a tcp: or unix: endpoint"):
        detach(StringTransport())
