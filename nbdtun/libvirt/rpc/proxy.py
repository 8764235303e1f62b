"""
Two connected sockets, the local libvirtd's and a channel's, joined message by message.

Wiring, at either end::

    proxy = Proxy(reactor, libvirtd, channel, away=lambda: link_is_away, gate=Gate(grant))  # at the source without a gate
    await proxy.closed

A message is written only when it is whole. So an answer of ours never lands in the middle of one, and half a message is never passed on.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.rpc.gate import MAX_CALL, Gate, answers
from nbdtun.libvirt.rpc.keepalive import Keepalive
from nbdtun.libvirt.rpc.messages import MAX, Message, Reader
from nbdtun.process import Reactor, adopt, quiet_factory

#: Seconds between two looks at the link, while a keepalive of libvirt's waits for its answer.
LOOK: Final = 1.0


class Proxy:
    """
    Joins ``libvirtd`` (connected to the local one) to ``channel``; it takes both sockets over, and closes them.

    ``away`` says whether the link is away just now. It is asked at each keepalive of the local libvirtd, and each second while one has no
    answer. ``gate`` judges what comes from the channel, at the destination. ``refused`` is called with each refusal's line, for a log.

    ``closed`` fires with None when both sockets are closed, in order or not; it never fails. When one end closes, the other gets all that
    came before, and then the end.

    :raise OSError: there are too many open files; both sockets are closed.
    """

    def __init__(
        self,
        reactor: Reactor,
        libvirtd: socket.socket,
        channel: socket.socket,
        *,
        away: Callable[[], bool],
        gate: Gate | None = None,
        refused: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.closed: Deferred[None] = Deferred()
        self._reactor = reactor
        self._gate = gate
        self._refused = refused
        self._keepalive = Keepalive(away)
        self._look: IDelayedCall | None = None
        self._local, self._far = _Side(self._from_local, self, MAX), _Side(self._from_far, self, MAX_CALL if gate else MAX)
        with libvirtd, channel:
            try:
                self._local.take(reactor, libvirtd)
                self._far.take(reactor, channel)
            except OSError:
                self.close()
                raise
        self._local.lead_to(self._far, allowance=MAX)  # its keepalives must be read even while the link takes nothing
        self._far.lead_to(self._local, allowance=0)

    def __repr__(self) -> str:
        return f"<Proxy libvirtd={self._local!r} channel={self._far!r} {self._keepalive!r}>"

    def close(self) -> None:
        """Close both sockets at once; safe to repeat."""
        for side in (self._local, self._far):
            side.abort()

    def _from_local(self, message: Message) -> None:
        if answer := self._keepalive.sent(message):
            self._local.send(answer)
            return
        if self._gate is None or self._gate.answer(message):
            self._far.send(message)
        if self._keepalive.waits and self._look is None:
            self._look = self._reactor.callLater(LOOK, self._look_at_link)

    def _from_far(self, message: Message) -> None:
        if self._gate is None:
            passes = answers(message)
        elif answer := self._gate.call(message):
            self._far.send(answer)
            self._refused(self._gate.refused)
            passes = False
        else:
            passes = True
        if passes:
            self._keepalive.received()
            self._local.send(message)

    def _look_at_link(self) -> None:
        self._look = None
        if answer := self._keepalive.overdue():
            self._local.send(answer)
        elif self._keepalive.waits:
            self._look = self._reactor.callLater(LOOK, self._look_at_link)

    def broken(self, error: ProtocolViolation) -> None:
        """What a side has sent is no message, or cannot be answered."""
        self._refused(error.line)
        self.close()

    def ended(self, side: _Side) -> None:
        """A side sends nothing more: so does the other, and when both have said so, it is over."""
        other = self._other(side)
        other.end()
        if other.ended:
            self._local.finish()
            self._far.finish()

    def lost(self, side: _Side) -> None:
        """A side's socket is closed."""
        self._other(side).finish()
        if self._local.gone and self._far.gone and not self.closed.called:
            if self._look is not None:
                self._look.cancel()
                self._look = None
            self.closed.callback(None)

    def _other(self, side: _Side) -> _Side:
        return self._far if side is self._local else self._local


@implementer(IHalfCloseableProtocol)
class _Side(Protocol):
    """One of the two sockets: ``heard`` is called with each message from it, of at most ``most`` bytes."""

    transport: Any

    def __init__(self, heard: Callable[[Message], None], proxy: Proxy, most: int) -> None:
        self._heard = heard
        self._proxy = proxy
        self._reader = Reader(most)
        self._flow: _Flow | None = None
        self.ended = False
        self.gone = True  # not yet there

    def __repr__(self) -> str:
        return f"<{'gone' if self.gone else 'ended' if self.ended else 'open'} {self._reader!r}>"

    def take(self, reactor: Reactor, sock: socket.socket) -> None:
        """Watch a socket, of which ``reactor`` takes a descriptor of its own."""
        sock.setblocking(False)
        adopt(reactor, sock, quiet_factory(lambda: self))

    def lead_to(self, sink: _Side, allowance: int) -> None:
        """What comes from here is written there: no faster than it is taken there, but for ``allowance`` bytes."""
        sink._flow = _Flow(self.transport, allowance)
        sink.transport.registerProducer(sink._flow, True)

    def send(self, message: Message) -> None:
        """Write it; nothing once the socket is closed."""
        if not self.gone and self._flow is not None:
            data = message.encode()
            self.transport.write(data)
            self._flow.wrote(len(data))

    def end(self) -> None:
        """Write nothing more, after all that was written."""
        if self._leave():
            self.transport.loseWriteConnection()

    def finish(self) -> None:
        """Close, after all that was written."""
        self._leave()
        if not self.gone:
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self._leave()
        if not self.gone:
            self.transport.abortConnection()

    def _leave(self) -> bool:
        """A transport does not close while a producer is registered; tell whether one was."""
        if self.gone or self._flow is None:
            return False
        self._flow = None
        self.transport.unregisterProducer()
        return True

    def connectionMade(self) -> None:
        """It is watched."""
        self.gone = False

    def dataReceived(self, data: bytes) -> None:
        """Pass on what is whole."""
        try:
            for message in self._reader.feed(data):
                self._heard(message)
        except ProtocolViolation as error:
            self._proxy.broken(error)

    def readConnectionLost(self) -> None:
        """The peer sends nothing more."""
        self.ended = True
        self._proxy.ended(self)

    def writeConnectionLost(self) -> None:
        """The peer reads nothing more: its end follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is closed."""
        self.ended = self.gone = True
        self._flow = None
        self._proxy.lost(self)


@implementer(IPushProducer)
class _Flow:
    """Stops reading from ``source`` once its sink is full, and ``allowance`` bytes more were written to it."""

    def __init__(self, source: Any, allowance: int) -> None:
        self._source = source
        self._allowance = allowance
        self._beyond: int | None = None  # bytes written since the sink is full
        self._paused = False

    def wrote(self, count: int) -> None:
        """So many bytes more were written to the sink."""
        if self._beyond is not None:
            self._beyond += count
            self._pause()

    def pauseProducing(self) -> None:
        """The sink is full, which it says at each write."""
        if self._beyond is None:
            self._beyond = 0
            self._pause()

    def resumeProducing(self) -> None:
        """The sink has taken all."""
        self._beyond = None
        if self._paused:
            self._paused = False
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """The sink is closed, of which the proxy hears by itself."""

    def _pause(self) -> None:
        if not self._paused and self._beyond is not None and self._beyond >= self._allowance:
            self._paused = True
            self._source.pauseProducing()
