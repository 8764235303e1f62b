"""Within a host nothing is paced from a connection's beginning, whatever the host has chosen for all others."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory

from nbdtun.tunnel.adopt import Catch, connect
from nbdtun.tunnel.loopback import UNPACED, LoopbackReactor

AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_bytes().split()


class Host:
    """A reactor that gives its sockets a choice of the operator's, as the host's sysctl would, before anybody else can."""

    def __init__(self, reactor: Any, choice: bytes) -> None:
        self._reactor, self._choice = reactor, choice

    def connectTCP(self, *arguments: Any, **named: Any) -> Any:
        connector = self._reactor.connectTCP(*arguments, **named)
        choose(connector.transport.socket, self._choice)
        return connector

    def listenTCP(self, *arguments: Any, **named: Any) -> Any:
        port = self._reactor.listenTCP(*arguments, **named)
        choose(port.socket, self._choice)
        return port


class Arrival(Catch):
    """Tells the socket that it has caught."""

    def __init__(self, accepted: Deferred[socket.socket]) -> None:
        self._accepted = accepted

    def connectionMade(self) -> None:
        super().connectionMade()
        self._accepted.callback(self.caught)


def choose(sock: socket.socket, choice: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, choice)


def congestion(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.fixture
def choice() -> bytes:
    others = [name for name in AVAILABLE if name != UNPACED]
    return others[-1] if others else pytest.skip("this kernel has only one congestion control")


@pytest.fixture
def host(choice: bytes) -> Host:
    from twisted.internet import reactor

    return Host(reactor, choice)


async def both_ends(there: Any, here: Any) -> tuple[bytes, bytes]:
    """The congestion control of what dials on ``here``, and of what accepts on ``there``."""
    accepted: Deferred[socket.socket] = Deferred()
    factory = Factory.forProtocol(lambda: Arrival(accepted))  # type: ignore[arg-type]
    factory.noisy = False
    port = await TCP4ServerEndpoint(there, 0, interface="127.0.0.1").listen(factory)
    with await connect(TCP4ClientEndpoint(here, "127.0.0.1", port.getHost().port)) as ours, await accepted as theirs:
        await port.stopListening()  # type: ignore[misc]
        return congestion(ours), congestion(theirs)


@ensureDeferred
async def test_within_a_host_nothing_is_paced(host: Host) -> None:
    reactor = LoopbackReactor(host)
    assert await both_ends(reactor, reactor) == (UNPACED, UNPACED)


@ensureDeferred
async def test_between_hosts_it_is_the_operator_who_chooses(host: Host, choice: bytes) -> None:
    assert await both_ends(host, host) == (choice, choice)


@ensureDeferred
async def test_a_kernel_that_refuses_is_let_have_its_way(host: Host, choice: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.tunnel.loopback.UNPACED", b"forbidden")
    reactor = LoopbackReactor(host)
    assert await both_ends(reactor, reactor) == (choice, choice)


@ensureDeferred
async def test_a_process_without_a_descriptor_left_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet import reactor, tcp

    def used_up(self: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(tcp.Client, "createInternetSocket", used_up)
    with pytest.raises(ConnectError, match="Too many open files"):
        await connect(TCP4ClientEndpoint(LoopbackReactor(reactor), "127.0.0.1", 1))
