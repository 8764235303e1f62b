"""Channels as transports of Twisted: connected by an endpoint, half-closed, and lost for a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from lab.daemon import free_port
from nbdtun.config import DestinationSettings, FactoryTarget
from nbdtun.errors import ChannelReset, ConfigError, TargetUnknown
from nbdtun.service.destination import DestinationService
from nbdtun.service.tunnel.endpoint import ChannelEndpoint


@implementer(IHalfCloseableProtocol)
class Remembering(Protocol):
    """Notes what comes, and when which half is over; ``echoes`` sends it all back at the end."""

    def __init__(self, echoes: bool = False) -> None:
        self.got = b""
        self.lost: Deferred[BaseException | None] = Deferred()
        self._echoes = echoes

    def send(self, data: bytes) -> None:
        """Send ``data``, and then the end."""
        assert isinstance(self.transport, Connection)
        self.transport.write(data)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def readConnectionLost(self) -> None:
        assert self.transport is not None
        if self._echoes:
            self.transport.write(self.got[::-1])
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)


Connect = Callable[..., ChannelEndpoint]


@pytest_twisted.async_yield_fixture
async def connect() -> AsyncIterator[Connect]:
    """Endpoints to a destination whose target ``echo`` echoes backwards."""
    from twisted.internet import reactor

    port = free_port()
    factory = Factory.forProtocol(partial(Remembering, echoes=True))
    factory.noisy = False
    listen = f"tcp:{port}:interface=127.0.0.1"
    service = DestinationService(reactor, DestinationSettings(listen=listen, targets=(FactoryTarget("echo", factory),)))
    service.privilegedStartService()
    service.startService()
    made: list[Any] = [service]

    def endpoint(target: str = "echo", more: str = "") -> ChannelEndpoint:
        made.append(clientFromString(reactor, f"nbdtun:target={target}:connect=tcp\\:127.0.0.1\\:{port}{more}"))
        return made[-1]  # type: ignore[no-any-return]

    endpoint.service = service  # type: ignore[attr-defined]
    yield endpoint
    for one in made[1:]:
        await one.source.stop()
    await service.stopService()


async def connected(endpoint: ChannelEndpoint) -> Remembering:
    protocol = await endpoint.connect(Factory.forProtocol(Remembering))
    assert isinstance(protocol, Remembering)
    return protocol


@ensureDeferred
async def test_both_directions_and_their_ends(connect: Connect) -> None:
    protocol = await connected(connect())
    protocol.send(b"hello")
    lost = await protocol.lost
    assert protocol.got == b"olleh"
    assert isinstance(lost, ConnectionDone)


@ensureDeferred
async def test_one_that_fails_says_why(connect: Connect) -> None:
    protocol = await connected(connect())
    connect.service.tunnel.reset("echo", "enough of it")  # type: ignore[attr-defined]
    lost = await protocol.lost
    assert isinstance(lost, ChannelReset)
    assert "enough of it" in str(lost)


@ensureDeferred
async def test_a_target_that_is_not_offered(connect: Connect) -> None:
    with pytest.raises(TargetUnknown):
        await connected(connect("gone"))


@ensureDeferred
async def test_a_factory_that_wants_no_connection(connect: Connect) -> None:
    class Refusing(Factory):
        noisy = False

        def buildProtocol(self, addr: Any) -> None:
            assert addr.target == "echo"

    with pytest.raises(ConnectError, match="made no protocol"):
        await connect().connect(Refusing())


def test_what_a_string_says(connect: Connect) -> None:
    endpoint = connect(more=":urgent=yes:window=1MiB:resume-window=20s")
    assert endpoint.urgent
    assert endpoint.source.runtime.terms.window == 1 << 20
    assert endpoint.source.runtime.terms.resume_window == 20


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (":windows=1", "an nbdtun endpoint has no option windows; use target, connect, urgent, tls-dir,"),
        (":window=much", "'much' is not a size"),
        (":tls-dir=/nowhere", "/nowhere"),
    ],
)
def test_a_string_that_makes_no_sense(connect: Connect, more: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        connect(more=more)
