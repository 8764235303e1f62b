"""The cable between both ends: what the source dials. Each connection is a line, which carries bytes in pieces and can be cut anywhere."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from zope.interface import implementer

from nbdtun.tunnel.destination.server import Destination
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.sockets import pair

#: A linger of 0 s: closing such a socket sends a reset.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Handle:
    """As much of one of Twisted's transports as is asked of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def getHandle(self) -> socket.socket:
        return self._sock

    def pauseProducing(self) -> None:
        """It was never watched."""


class Flow:
    """One direction of a line."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.held = bytearray()
        self.carried = 0
        self.stalled = False
        self.chunk = 1 << 20
        self.ended = self.sink_ended = False
        self.torn = False  # it ended with a reset

    def move(self, most: int) -> bool:
        if self.stalled:
            return False
        moved = self._fetch(min(self.chunk, most) - len(self.held))
        if self.held:
            moved = self._hand_on() or moved
        elif self.ended and not self.sink_ended:
            self.sink_ended = moved = True
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)
        return moved

    def _fetch(self, most: int) -> bool:
        if most <= 0 or self.ended:
            return False
        try:
            data = self.source.recv(most)
        except BlockingIOError:
            return False
        except OSError:  # closed with our bytes unread, like TCP's reset
            data, self.torn = b"", True
        self.held += data
        self.ended = not data
        return True

    def _hand_on(self) -> bool:
        try:
            count = self.sink.send(self.held)
        except BlockingIOError:
            return False
        except OSError:  # nobody is there any more to take it
            count = len(self.held)
        del self.held[:count]
        self.carried += count
        return True


class Line:
    """One connection through the cable."""

    def __init__(self, crank: Crank, near: socket.socket, far: socket.socket, cut_after: int | None = None) -> None:
        near.setblocking(False)
        far.setblocking(False)
        self._crank = crank
        self._ends = near, far
        self.there, self.back = Flow(near, far), Flow(far, near)
        self.cut_after = cut_after
        self.loss = "end"  # or "reset", or "silence": how it is cut after so many bytes
        self.open = True
        crank.movers.append(self._move)

    @property
    def carried(self) -> int:
        return self.there.carried + self.back.carried

    def stall(self, on: bool = True) -> None:
        """Carry nothing, without a word."""
        self.there.stalled = self.back.stalled = on

    def cut(self) -> None:
        """Both ends find their connection broken; what was on its way is lost."""
        if self.open:
            self.open = False
            self._crank.movers.remove(self._move)
            for end in self._ends:
                if self.loss == "reset":
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                end.close()

    def _move(self) -> bool:
        moved = False
        for flow in (self.there, self.back):
            left = (1 << 40) if self.cut_after is None else self.cut_after - self.carried
            moved = flow.move(left) or moved
        if self.carried == self.cut_after and self.loss == "silence":
            self.stall()
        elif self.carried == self.cut_after or (self.there.sink_ended and self.back.sink_ended):
            self.cut()
            return True
        return moved


@implementer(IStreamClientEndpoint)
class Cable:
    """What the source dials: each connection is a line to the destination, unless the cable is pulled."""

    def __init__(self, crank: Crank) -> None:
        self._crank = crank
        self.far: Destination | None = None
        self.lines: list[Line] = []
        self.refuses = False
        self.swallows = False  # a SYN gets no answer at all
        self.attempts = 0
        self.room: int | None = None  # bytes that a socket takes before it is full
        self.pair: Callable[[], tuple[socket.socket, socket.socket]] = pair
        self.next_cut: Callable[[], int | None] = lambda: None

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.attempts += 1
        if self.swallows:
            return Deferred(lambda d: d.errback(_connecting_cancelled()))
        if self.refuses or self.far is None:
            return fail(ConnectionRefusedError())
        return deferLater(self._crank, 0, self._connected, protocolFactory, self.far)

    def cut(self) -> None:
        """Cut all lines."""
        for line in tuple(self.lines):
            line.cut()

    @property
    def line(self) -> Line:
        """The newest."""
        return self.lines[-1]

    def dial(self, cut_after: int | None = None, address: Any = None) -> socket.socket:
        """A connection to the destination for somebody who speaks for himself."""
        assert self.far is not None
        ours, near = self.pair()
        far, theirs = self.pair()
        if self.room is not None:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.room)
        self.lines = [line for line in self.lines if line.open]
        self.lines.append(Line(self._crank, near, far, cut_after))
        arrival = self.far.buildProtocol(address)
        arrival.makeConnection(Handle(theirs))
        return ours

    def _connected(self, factory: Factory, far: Destination, /) -> Any:
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(Handle(self.dial(self.next_cut())))  # type: ignore[arg-type]
        return protocol


def _connecting_cancelled() -> Exception:
    from twisted.internet.address import UNIXAddress
    from twisted.internet.error import ConnectingCancelledError

    return ConnectingCancelledError(UNIXAddress("/cable"))  # what Twisted's endpoints say when they are cancelled
