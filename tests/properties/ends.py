"""
The two ends of a channel without its sockets: streams, half a link each, and local programs that read when they are told to.

Slabs are small, so that a few hundred bytes go through everything that megabytes would.
"""

from __future__ import annotations

from nbdtun.tunnel.protocol.frames import HEADER, Decoder, Kind, encode
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.inflight import InFlight
from nbdtun.tunnel.protocol.outbound import Outbound
from nbdtun.tunnel.protocol.slab import Slab
from tests.tunnel.stage.pool import CountingPool

SLAB = 300
LEFT, RIGHT = 0, 1


def content(side: int, start: int, count: int) -> bytes:
    """What ``side`` sends at these offsets: each byte says where it belongs."""
    return bytes((each * 7 + each // 251 + side * 13) % 256 for each in range(start, start + count))


class RubbishPool(CountingPool):
    """Fills what is given back with rubbish: who still needs it will notice."""

    def give(self, slab: Slab) -> None:
        slab.view[:] = b"\xee" * len(slab.view)
        super().give(slab)


class End:
    """One end: its streams, its half of the present link, and its local socket."""

    def __init__(self, side: int, window: int) -> None:
        self.side = side
        self.pool = RubbishPool(size=SLAB)
        self.inflight = InFlight()
        self.others = 0  # channels of the same process that are busy
        self.outbound = Outbound(window, self.pool, self.inflight)
        self.inbound = Inbound(window, self.pool)
        self.got = bytearray()
        self.told_end = False
        self.room = 0  # what the local socket takes before it is full
        self.peer: End
        self.begin()

    def begin(self) -> None:
        """A new link."""
        self.decoder = Decoder(self)
        self.frame: memoryview | None = None  # what of a frame is still to be sent: read from memory only when it is
        self.control = encode(Kind.ACK, self.inbound.take_ack())
        self.wire = bytearray()  # on its way to the other end
        self.told = self.outbound._resumed  # how far the other end may have been told of the stream
        self.telling = self.told

    def push(self, most: int, piggyback: bool) -> None:
        """Send up to ``most`` bytes."""
        while most > 0:
            if not self.frame:
                self.frame = self._next(piggyback)
            if not self.frame:
                return
            self.wire += self.frame[:most]
            sent, self.frame = min(most, len(self.frame)), self.frame[most:]
            most -= sent
            if not self.frame:
                self.outbound.leaving = False
                self.told = self.telling

    def _next(self, piggyback: bool) -> memoryview | None:
        if self.control:
            control, self.control = self.control, b""
            return memoryview(control)
        frame = self.outbound.next_frame(self.inbound.take_ack() if piggyback and self.inbound.owed else None)
        if frame is not None:
            own = frame[HEADER.size :] if frame[0] == Kind.ACK else frame
            kind, length, offset = HEADER.unpack_from(own)
            self.telling = offset + length if kind in (Kind.DATA, Kind.DATA_ASK) else offset + 1
            if kind == Kind.FIN:
                self.told = self.telling  # it lies in no slab, so that nobody is harmed who hears of it early
        return frame

    def drain(self, room: int) -> None:
        """The local program reads."""
        self.room += room
        backlog = self.inbound.backlog
        while backlog and self.room:
            head = backlog.head()[: self.room]
            self._write(head)
            backlog.consume(len(head))
        self._end()

    def _write(self, piece: memoryview) -> None:
        self.got += piece
        self.room -= len(piece)
        self.inbound.wrote(len(piece))

    def _end(self) -> None:
        if self.inbound.ended:
            assert not self.told_end
            self.told_end = True
            self.inbound.wrote(1)

    # The decoder's receiver: as a splice and a link have it.

    def data_received(self, offset: int, piece: memoryview) -> None:
        self.inbound.accept(offset, len(piece))
        if not self.inbound.backlog:
            now = piece[: self.room]
            self._write(now)
            piece = piece[len(now) :]
        if piece:
            self.inbound.backlog.append(piece)

    def fin_received(self, offset: int) -> None:
        self.inbound.accept_end(offset)
        self._end()

    def ack_asked(self, offset: int) -> None:
        self.inbound.asked(offset)

    def ack_received(self, offset: int) -> None:
        self.outbound.acknowledge(offset)

    def reset_received(self, code: str, reason: str) -> None:
        raise AssertionError

    def bye_received(self) -> None:
        raise AssertionError

    def ping_received(self, token: int) -> None:
        raise AssertionError

    def pong_received(self, token: int) -> None:
        raise AssertionError
