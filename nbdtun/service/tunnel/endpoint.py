"""
A channel as an ordinary Twisted transport: a client endpoint, with a socket pair between the channel and the application's protocol.

Producers, consumers and half-close are those of Twisted's own UNIX transport. A lost connection between the hosts is a pause for both
protocols; a failed channel calls their ``connectionLost`` with its TunnelError.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from nbdtun.config import SourceSettings, options
from nbdtun.config.build import tunnel_settings
from nbdtun.config.names import check_name
from nbdtun.errors import ConfigError
from nbdtun.process import Reactor, adopt, quiet_factory
from nbdtun.service.tunnel.build import make_source
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.source.client import Source

#: The tunnel's options that an endpoint string may have; the names are those of the daemons' options.
WORDS = {option.name: option for option in (*options.TRUST, options.TLS_NAME, options.BANDWIDTH, *options.TERMS)}


@implementer(IAddress)
@frozen
class ChannelAddress:
    """The other end of a channel, as passed to the factory's ``buildProtocol``."""

    target: str


@implementer(IStreamClientEndpoint)
@frozen
class ChannelEndpoint:
    """Connects protocols to ``target`` at the destination of ``source``, each over its own channel."""

    reactor: Reactor
    source: Source
    target: str
    urgent: bool = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Open a channel, and connect a protocol of the factory to it.

        :raise TunnelError: (in the Deferred) the channel cannot be opened. Cancelling gives it up.
        :raise ConnectError: (in the Deferred) the factory made no protocol.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        protocol = factory.buildProtocol(ChannelAddress(self.target))
        if protocol is None:
            raise ConnectError(string=f"{self.target}: the factory made no protocol")
        ours, theirs = socket.socketpair()
        with ours:
            channel = await self.source.open(self.target, theirs, urgent=self.urgent)
            ours.setblocking(False)
            adopt(self.reactor, ours, quiet_factory(lambda: _Outer(protocol, channel)))
        return protocol


class _Outer(Protocol):
    """Wraps ``inner`` for one purpose: if ``channel`` fails, ``connectionLost`` gets its error."""

    def __init__(self, inner: IProtocol, channel: Channel) -> None:
        self._inner = inner
        self._channel = channel
        if IHalfCloseableProtocol.providedBy(inner):
            directlyProvides(self, IHalfCloseableProtocol)

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._inner.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._inner.dataReceived(data)

    def readConnectionLost(self) -> None:
        """The other end has closed its half."""
        self._inner.readConnectionLost()  # type: ignore[attr-defined]  # only called of one that provides it

    def writeConnectionLost(self) -> None:
        """This end has closed its half."""
        self._inner.writeConnectionLost()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        error = self._channel.error
        self._inner.connectionLost(reason if error is None else Failure(error))


def endpoint_from_words(reactor: Reactor, target: str, connect: str, words: Mapping[str, str]) -> ChannelEndpoint:
    """
    Make the endpoint of ``nbdtun:target=NAME:connect=ENDPOINT:WORD=VALUE...``, with a tunnel of its own; nothing is dialled yet.

    :raise ConfigError: a word is unknown, or a value is not valid.
    """
    given = {}
    for word, value in words.items():
        if word not in WORDS and word != "urgent":
            raise ConfigError(f"an nbdtun endpoint has no option {word}; use target, connect, urgent, {', '.join(WORDS)}")
        if word in WORDS:
            given[WORDS[word].key] = WORDS[word].read(value) if WORDS[word].metavar else value == "yes"
    urgent = words.get("urgent") == "yes"
    settings = SourceSettings(tunnel=tunnel_settings(given), connect=connect, forwards=())
    return ChannelEndpoint(reactor, make_source(reactor, settings), check_name(target), urgent)
