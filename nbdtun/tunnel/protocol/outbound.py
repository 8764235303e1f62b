"""
The outbound stream: the sending half of a direction of a channel. Rules only: no socket, no clock, no Deferred.

Each direction counts its bytes from 0. The sender keeps all bytes that are not acknowledged, and can send them again from any offset that
the other end may ask for; the receiver (``inbound``) takes each byte once and in order. Links come and go, and streams do not know them.

A stream's end counts as one more byte: a FIN at ``n`` is acknowledged with ``n + 1``, and a receiver that has it resumes at ``n + 1``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from nbdtun.errors import ProtocolViolation, ResumeRefused
from nbdtun.tunnel.protocol.frames import HEADER, Kind
from nbdtun.tunnel.protocol.growth import BULK, Appetite, Growth
from nbdtun.tunnel.protocol.inflight import InFlight, ack_interval
from nbdtun.tunnel.protocol.slab import Slab, SlabPool

#: Bytes kept free before each payload, so that an acknowledgement, the header and the payload can be sent in one piece.
HEADROOM = 2 * HEADER.size

#: Bytes that each piece costs beside its payload: its headroom, and Python's objects for it (some 230 bytes in CPython 3.11).
PIECE = 256

#: A slab with less free space than this is not read into: small reads cost as much as large ones.
MIN_READ = 64 * 1024

#: Returned by :meth:`Outbound.read` when there is no room.
FULL = -1

#: Fills the beginning of a buffer, and returns the count of bytes: 0 at the end, None when there is nothing now.
Receive = Callable[[memoryview], "int | None"]

_DATA, _DATA_ASK, _ACK = int(Kind.DATA), int(Kind.DATA_ASK), int(Kind.ACK)
_HEADER, _pack_into = HEADER.size, HEADER.pack_into


class Segment:
    """Bytes of the stream that lie together in a slab: ``slab.view[start:end]`` is the stream from ``offset``."""

    __slots__ = ("cost", "end", "offset", "slab", "start")

    def __init__(self, slab: Slab, start: int, end: int, offset: int) -> None:
        self.slab = slab
        self.start = start
        self.end = end
        self.offset = offset
        self.cost = end - start + PIECE

    def grow(self, count: int) -> None:
        """Extend the segment by ``count`` bytes."""
        self.end += count
        self.cost += count

    @property
    def stop(self) -> int:
        """The stream's offset after it."""
        return self.offset + self.end - self.start


class Outbound:
    """
    The sending half: it keeps bytes from the local socket until the other end has acknowledged them.

    The kept payload and the costs of its pieces together never exceed the window's part that is in use (``growth``), plus the costs of one
    piece.
    """

    def __init__(self, window: int, pool: SlabPool, inflight: InFlight | None = None, appetite: Appetite = BULK) -> None:
        self.growth = Growth(window, appetite)
        self.end = 0  # bytes taken from the local socket
        self.acked = 0  # the other end has everything before it
        self.final: int | None = None
        self.bdp: int | None = None  # bytes that the line holds, once known
        self._pool = pool
        self._inflight = inflight or InFlight()
        self._allowance = self.growth.limit  # bytes that it may have in flight, as of the latest acknowledgement
        self._ack_interval = 0  # bytes after which the other end is asked to acknowledge at once; 0: never
        self._asked = 0  # up to where the other end was asked to
        self._slab: Slab | None = None
        self._sent: deque[Segment] = deque()
        self.unsent: deque[Segment] = deque()
        self._kept = 0
        self._promised = 0  # the highest offset that was ever on a link; the FIN counts as one
        self._resumed = 0  # where the present link began; headers may overwrite bytes before it
        self.leaving = False  # whether the latest frame may be only partly sent: its memory is still needed then
        self._fin_sent = False

    def __repr__(self) -> str:
        return f"<Outbound {self.acked}..{self.end} final={self.final} kept={self._kept}>"

    @property
    def done(self) -> bool:
        """Whether the other end has everything, including the end."""
        return self.final is not None and self.acked > self.final

    @property
    def kept(self) -> int:
        """Bytes of memory that are held for a replay."""
        return self._kept

    def read(self, receive: Receive, most: int | None = None) -> int | None:
        """
        Let ``receive`` put the next bytes of the stream into place, at most ``most`` if given.

        Returns its result: the count, 0 at the end, None when there is nothing now. Returns ``FULL`` without calling it while the window
        or the allowance is full, and after the end.
        """
        kept, end = self._kept, self.end
        used = max(kept, end - self.acked)
        growth = self.growth
        room = growth.limit - used
        if room <= 0 or self.final is not None or (used >= self._allowance and self._asked > self.acked):
            growth.waited = True
            return FULL  # the allowance only opens or closes: a small read for its rest would cost as much as a large one
        slab = self._slab
        if slab is None or slab.size - slab.used < HEADROOM + MIN_READ:
            slab = self._fresh_slab()
        joins = bool(self.unsent) and self._extends(slab)
        start = slab.used if joins else slab.used + HEADROOM
        count = receive(slab.view[start : start + (room if most is None else min(room, most))])
        if not count:
            self._lay_aside()
            return count
        slab.used = start + count
        self.end = end + count
        if joins:
            self.unsent[-1].grow(count)
            self._kept = kept + count
        else:
            self.unsent.append(Segment(slab, start, slab.used, end))
            slab.users += 1
            self._kept = kept + count + PIECE
        if not kept:
            self._inflight.busy += 1
        return count

    def _lay_aside(self) -> None:
        """An idle stream holds no memory."""
        if self._slab is not None and not self._slab.users:
            self._pool.give(self._slab)
            self._slab = None

    def finish(self) -> None:
        """The local socket has reached its end."""
        if self.final is None:
            self.final = self.end
            self._lay_aside()

    @property
    def roomy(self) -> bool:
        """Whether :meth:`read` would read."""
        limit = self._allowance if self._asked > self.acked else self.growth.limit
        return self._kept < limit and self.end - self.acked < limit and self.final is None

    @property
    def pending(self) -> bool:
        """Whether :meth:`next_frame` has something to send."""
        return bool(self.unsent) or (self.final is not None and not self._fin_sent)

    def next_frame(self, ack: int | None = None) -> memoryview | None:
        """
        Return the next piece to send, or None; the caller unsets ``leaving`` when all of it is sent.

        Header and payload are one piece. ``ack``, if given, goes before them as a frame of its own.
        """
        if not self.unsent:
            return self._fin_frame(ack)
        segment = self.unsent.popleft()
        self._sent.append(segment)
        self.leaving = True
        end, offset, view = segment.end, segment.offset, segment.slab.view
        at = segment.start - _HEADER
        size = end - segment.start
        stop = offset + size
        if stop > self._promised:
            self._promised = stop
        kind = _DATA
        if self._ack_interval and stop - self._asked >= self._ack_interval:
            kind, self._asked = _DATA_ASK, stop
        _pack_into(view, at, kind, size, offset)
        if ack is not None:
            at -= _HEADER
            _pack_into(view, at, _ACK, 0, ack)
        return view[at:end]

    def _fin_frame(self, ack: int | None) -> memoryview | None:
        if self.final is None or self._fin_sent:
            return None
        self._fin_sent = True
        self._promised = self.final + 1
        fin = HEADER.pack(Kind.FIN, 0, self.final)
        return memoryview(fin if ack is None else HEADER.pack(Kind.ACK, 0, ack) + fin)

    @property
    def sent(self) -> int:
        """
        The offset up to which the other end may have received the stream on the present link; the FIN counts as one.

        Of a frame that is still leaving, it may have all but the last byte: it takes bytes as they arrive, and acknowledges them.
        """
        if self.leaving:
            return self._sent[-1].stop - 1
        return self.unsent[0].offset if self.unsent else self.end + self._fin_sent

    def acknowledge(self, offset: int) -> None:
        """
        The other end has everything before ``offset`` and will never ask for it again.

        :raise ProtocolViolation: it was never sent, or is still being sent, so that its memory must not be reused.
        """
        if offset > self.sent:
            raise ProtocolViolation(f"{offset} bytes were acknowledged, but only {self.sent} were sent")
        if offset > self.acked:
            self.acked = offset
            self._forget(offset)
            self._update_allowance()

    def _update_allowance(self) -> None:
        """Recompute this channel's share of the bytes in flight. With a small share, ask the peer for earlier acknowledgements."""
        if self.bdp is not None:
            limit = self.growth.limit
            allowance = self._allowance = self._inflight.allowance(limit, self.bdp)
            self._ack_interval = ack_interval(allowance) if allowance < limit else 0

    def rewind(self, offset: int) -> int:
        """
        There is a new link, and the other end has received everything before ``offset``: send again from there.

        Returns the count of bytes to be sent again. It changes nothing if it raises.

        :raise ProtocolViolation: those bytes were never sent.
        :raise ResumeRefused: the other end has already received more: this is an old request that arrived late.
        """
        if offset > self._promised:
            raise ProtocolViolation(f"a resume at offset {offset}, but only {self._promised} bytes were sent")
        if offset < max(self.acked, self._resumed):
            raise ResumeRefused(f"a resume at offset {offset}, but {max(self.acked, self._resumed)} bytes had already arrived")
        again = max(0, (self.unsent[0].offset if self.unsent else self.end) - offset)
        self._resumed, self._asked = offset, self.acked
        self.growth.begin()
        self.leaving = False
        while self._sent:
            self.unsent.appendleft(self._sent.pop())
        while self.unsent and self.unsent[0].stop <= offset:
            self._release(self.unsent.popleft())
        if self.unsent and self.unsent[0].offset < offset:
            first = self.unsent[0]
            first.start += offset - first.offset
            first.offset = offset
        self._fin_sent = self.final is not None and offset > self.final
        return again

    def clear(self) -> None:
        """Forget everything: the channel is over."""
        self.finish()
        for segment in (*self._sent, *self.unsent):
            self._release(segment)
        self._sent.clear()
        self.unsent.clear()

    def _extends(self, slab: Slab) -> bool:
        """Whether the next bytes join the last piece: it is at the slab's end and not yet being sent."""
        last = self.unsent[-1]
        return last.slab is slab and last.end == slab.used

    def _fresh_slab(self) -> Slab:
        old, self._slab = self._slab, self._pool.take()
        if old is not None and not old.users:
            self._pool.give(old)
        return self._slab

    def _forget(self, offset: int) -> None:
        while self._sent and self._sent[0].stop <= offset:
            self._release(self._sent.popleft())

    def _release(self, segment: Segment) -> None:
        self._kept -= segment.cost
        if not self._kept:
            self._inflight.busy -= 1
        slab = segment.slab
        slab.users -= 1
        if not slab.users:
            if slab is self._slab:
                self._slab = None
            self._pool.give(slab)
