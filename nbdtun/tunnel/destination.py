"""
The destination's end of a tunnel: it accepts connections on its one port and lets channels come out at its targets.

It remembers ended channels for as long as their source may still ask for them: a source that missed the last word gets it again.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import txaio
from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol, ServerFactory

from nbdtun.errors import (
    AlreadyComplete,
    ChannelReset,
    LinkLost,
    ProtocolViolation,
    ResumeRefused,
    TooManyChannels,
    TunnelError,
    VersionMismatch,
)
from nbdtun.tunnel.adopt import adopt
from nbdtun.tunnel.channel import Channel
from nbdtun.tunnel.commands import IDENT_SIZE, VERSION, Answer, OpenChannel, ResumeChannel
from nbdtun.tunnel.opening import Opening, OpeningTransport
from nbdtun.tunnel.runtime import Runtime
from nbdtun.tunnel.share import share
from nbdtun.tunnel.stream import MIN_READ
from nbdtun.tunnel.targets import Targets
from nbdtun.tunnel.tls import explain, wrap_server

#: Connections that have not become links yet; more are closed as they come.
MAX_OPENINGS = 256

#: Ended channels that are remembered at most; the oldest are forgotten first.
MAX_REMEMBERED = 4096


@frozen
class _Entry:
    """A channel (or, while its target is being connected to, the promise of one), and whose it is."""

    identity: str
    target: str
    channel: Deferred[Channel]


class Destination(ServerFactory):
    """
    Serves sources: opens channels to ``targets`` and takes them up again.

    ``tls`` is the context for its connections, None for none.
    """

    log = txaio.make_logger()
    noisy = False

    def __init__(self, runtime: Runtime, targets: Targets, tls: ssl.SSLContext | None = None) -> None:
        self.runtime = runtime
        self.targets = targets
        self._tls = tls
        self._entries: dict[bytes, _Entry] = {}
        self._ended: dict[bytes, TunnelError] = {}  # what to answer to who asks for a channel that is over
        self._openings: set[OpeningTransport] = set()
        self.channels: set[Channel] = set()

    def buildProtocol(self, addr: object) -> Protocol:
        """Return the protocol that takes the connection over."""
        return _Arrival(self, _named(addr))

    def arrived(self, sock: socket.socket, peer: str) -> None:
        """A connection was accepted: what it is for, it must say soon."""
        if len(self._openings) >= MAX_OPENINGS:
            sock.close()
            return
        if self._tls is not None:
            try:
                sock = wrap_server(self._tls, sock)
            except OSError as gone:  # it was reset before it was looked at, as port scanners do
                self.log.warn("refused {reason}", reason=str(explain(gone, peer)))
                return
        opening = DestinationOpening(self)
        transport = OpeningTransport(self.runtime.watch, sock, peer, opening, self.runtime.terms.opening_timeout)
        self._openings.add(transport)
        transport.ready.addErrback(self._refused)
        transport.over.addCallback(lambda _: self._openings.discard(transport))

    async def open(self, ident: bytes, target: str, window: int, identity: str, *, urgent: bool = False) -> Channel:
        """
        Return the channel ``ident``, new or, if this was asked before, the one there is.

        :raise TunnelError: there is no such target, it cannot be connected to, or a limit is reached.
        """
        if ident in self._entries or ident in self._ended:
            return await self.find(ident, identity)
        if len(self._entries) >= self.runtime.terms.max_channels:
            raise TooManyChannels(f"the destination serves {self.runtime.terms.max_channels} channels already, and no more")
        if len(ident) != IDENT_SIZE or window < MIN_READ:
            raise ProtocolViolation(f"a channel with an id of {len(ident)} bytes and a window of {window} bytes")
        making = Deferred.fromCoroutine(self._make(ident, target, window, urgent=urgent))
        entry = self._entries[ident] = _Entry(identity, target, Deferred(lambda _: making.cancel()))
        asked = share(entry.channel)
        making.addCallbacks(entry.channel.callback, lambda failure: self._unmade(ident, entry, failure))
        return await asked

    async def find(self, ident: bytes, identity: str) -> Channel:
        """
        Return the channel ``ident``, if it belongs to ``identity``.

        :raise TunnelError: it does not, there is none, or it is over: then the reason why.
        """
        entry = self._entries.get(ident)
        if entry is not None and entry.identity == identity:
            return await share(entry.channel)
        if entry is None and ident in self._ended:
            raise self._ended[ident]
        raise ResumeRefused(f"the destination knows no channel {ident.hex()[:8]} of this source")

    def reset(self, target: str, reason: str) -> None:
        """End the channels to ``target``."""
        for channel in tuple(self.channels):
            if channel.target == target:
                channel.reset(ChannelReset(reason))

    async def stop(self) -> None:
        """End all channels and connections."""
        for transport in tuple(self._openings):
            transport.abortConnection()
        for entry in tuple(self._entries.values()):
            entry.channel.cancel()  # whose target is still being connected to
        for channel in tuple(self.channels):
            channel.reset(ChannelReset("the destination was stopped"))

    async def _make(self, ident: bytes, name: str, window: int, *, urgent: bool) -> Channel:
        try:
            sock = await self.targets.find(name).connect(name)
        except (CancelledError, ConnectingCancelledError):
            raise ChannelReset("the destination was stopped") from None
        channel = Channel(self.runtime, ident, name, sock, min(window, self.runtime.terms.window), None, urgent=urgent)
        self.channels.add(channel)
        channel.ended.addCallback(self._channel_ended, channel)
        return channel

    def _unmade(self, ident: bytes, entry: _Entry, failure: Any) -> None:
        del self._entries[ident]
        entry.channel.errback(failure)
        entry.channel.addErrback(lambda _: None)  # all who asked have been told

    def _channel_ended(self, error: TunnelError | None, channel: Channel) -> TunnelError | None:
        self.channels.discard(channel)
        self._entries.pop(channel.ident, None)
        self._remember(channel.ident, error or AlreadyComplete(f"channel {channel.name} has ended"))
        if error is None:
            self.log.info("channel {name} is complete", name=channel.name)
        else:
            self.log.error("channel {name} failed: {reason}", name=channel.name, reason=str(error))
        return error

    def _remember(self, ident: bytes, ending: TunnelError) -> None:
        # A source that hears of a lost link tries again; of this one there will never be another.
        self._ended[ident] = ResumeRefused(str(ending)) if isinstance(ending, LinkLost) else ending
        if len(self._ended) > MAX_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self.runtime.call_later(self.runtime.terms.resume_window, self._ended.pop, ident, None)

    def _refused(self, failure: Any) -> None:
        self.log.warn("refused {reason}", reason=str(failure.value))


class DestinationOpening(Opening):
    """Answers the one command with which a connection becomes a link."""

    log = txaio.make_logger()
    answers = frozenset({OpenChannel.commandName, ResumeChannel.commandName})

    def __init__(self, destination: Destination) -> None:
        super().__init__()
        self._destination = destination

    @OpenChannel.responder
    def open_channel(self, version: int, channel: bytes, target: str, window: int, urgent: bool | None) -> Deferred[Answer]:
        """Open a channel."""
        opening = self._destination.open(channel, target, window, self._connection.identity, urgent=bool(urgent))
        return Deferred.fromCoroutine(self._answer(version, opening, 0))

    @ResumeChannel.responder
    def resume_channel(self, version: int, channel: bytes, received: int) -> Deferred[Answer]:
        """Take a channel up again."""
        return Deferred.fromCoroutine(self._answer(version, self._destination.find(channel, self._connection.identity), received))

    @property
    def _connection(self) -> OpeningTransport:
        assert isinstance(self.transport, OpeningTransport)
        return self.transport

    async def _answer(self, version: int, finding: Any, received: int) -> Answer:
        self.answers = frozenset()  # a second channel could not become this connection's link, and nothing would ever end it
        try:
            if version != VERSION:
                finding.close()
                raise VersionMismatch(f"the source speaks version {version} of the protocol, the destination {VERSION}")
            channel = await finding
            self._take_up(channel, received)
        except AlreadyComplete:
            raise
        except TunnelError as refusal:
            self.log.error("{peer}: {reason}", peer=self._connection.peer, reason=str(refusal))
            raise
        return Answer(channel.new_link(), channel.inbound.received, channel.inbound.window)

    def _take_up(self, channel: Channel, received: int) -> None:
        if self._connection.wire.closed:
            gone = LinkLost("the connection was gone before the channel was open")
            channel.abandoned(gone)
            raise gone
        try:
            channel.resume(received)
        except ProtocolViolation as violation:
            channel.reset(violation)
            raise


class _Arrival(Protocol):
    """A connection, just accepted."""

    def __init__(self, destination: Destination, peer: str) -> None:
        self._destination = destination
        self._peer = peer

    def connectionMade(self) -> None:
        """Take its socket away from Twisted."""
        self._destination.arrived(adopt(self.transport), self._peer)


def _named(addr: Any) -> str:
    host, port = getattr(addr, "host", None), getattr(addr, "port", None)
    return "a local peer" if host is None else f"{host}:{port}"
