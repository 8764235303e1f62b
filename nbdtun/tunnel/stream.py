"""
Streams: the bookkeeping of the two directions of a channel. Rules only: no socket, no clock, no Deferred.

Each direction counts its bytes from 0. The sender keeps what the other end has not acknowledged and can send it again from any offset that
the other end may ask for; the receiver takes each byte once and in order. Links come and go beneath: a stream does not know them.

A stream's end is counted like one byte more: a FIN at ``n`` is acknowledged with ``n + 1``, and whoever has received it resumes at
``n + 1``.
"""

from __future__ import annotations

from collections import deque

from nbdtun.errors import ProtocolViolation, ResumeRefused
from nbdtun.tunnel.frames import HEADER, Kind
from nbdtun.tunnel.slab import Backlog, Slab, SlabPool

#: Bytes kept free before each payload, so that its header, and an acknowledgement before that, can be sent with it in one piece.
HEADROOM = 2 * HEADER.size

#: A slab with less space left than this is not read into any more: small reads cost as much as large ones.
MIN_READ = 64 * 1024


_DATA, _ACK = int(Kind.DATA), int(Kind.ACK)
_HEADER, _pack_into = HEADER.size, HEADER.pack_into


class Segment:
    """Bytes of the stream that lie together in a slab: ``slab.view[start:end]`` is the stream from ``offset``."""

    __slots__ = ("cost", "end", "offset", "slab", "start")

    def __init__(self, slab: Slab, start: int, offset: int) -> None:
        self.slab = slab
        self.start = self.end = start
        self.offset = offset
        self.cost = HEADROOM

    @property
    def stop(self) -> int:
        """The stream's offset after it."""
        return self.offset + self.end - self.start


class Outbound:
    """
    The sending half: what was read from the local socket, until the other end has it.

    Its bound: the payload that it keeps and the headroom of each piece together are never more than ``window`` bytes (and one headroom).
    """

    def __init__(self, window: int, pool: SlabPool) -> None:
        self.window = window
        self.end = 0  # bytes taken from the local socket
        self.acked = 0  # everything before it is the other end's
        self.final: int | None = None
        self._pool = pool
        self._slab: Slab | None = None
        self._sent: deque[Segment] = deque()
        self._unsent: deque[Segment] = deque()
        self._kept = 0
        self._promised = 0  # the highest offset that ever was on a link; the FIN counts as one
        self._resumed = 0  # where the present link began; what is before it may be overwritten by headers
        self.leaving = False  # whether the latest frame may be only partly on the link: then its memory is still needed
        self._fin_sent = False

    def __repr__(self) -> str:
        return f"<Outbound {self.acked}..{self.end} final={self.final} kept={self._kept}>"

    @property
    def done(self) -> bool:
        """Whether the other end has everything and knows that it is all."""
        return self.final is not None and self.acked > self.final

    @property
    def kept(self) -> int:
        """Bytes held in memory for a replay, headroom included."""
        return self._kept

    def space(self) -> memoryview | None:
        """Where the next bytes of the stream go; None while the window is full, and after the end."""
        kept, flying = self._kept, self.end - self.acked
        room = self.window - (kept if kept > flying else flying)
        if room <= 0 or self.final is not None:
            return None
        slab = self._slab
        if slab is None or slab.size - slab.used < HEADROOM + MIN_READ:
            slab = self._fresh_slab()
        start = slab.used
        if not (self._unsent and self._extends(slab)):
            start += HEADROOM
        return slab.view[start : start + room]

    def filled(self, count: int) -> None:
        """``count`` bytes were put where :meth:`space` said."""
        slab = self._slab
        assert slab is not None
        kept = count
        if self._unsent and self._extends(slab):
            segment = self._unsent[-1]
        else:
            segment = Segment(slab, slab.used + HEADROOM, self.end)
            self._unsent.append(segment)
            slab.users += 1
            kept += HEADROOM
        segment.cost += count
        segment.end += count
        slab.used = segment.end
        self.end += count
        self._kept += kept

    def unfilled(self) -> None:
        """Nothing was put where :meth:`space` said: an idle stream holds no memory."""
        if self._slab is not None and not self._slab.users:
            self._pool.give(self._slab)
            self._slab = None

    def finish(self) -> None:
        """The local socket has said that nothing more will come."""
        if self.final is None:
            self.final = self.end
            self.unfilled()

    @property
    def roomy(self) -> bool:
        """Whether :meth:`space` has any."""
        return self._kept < self.window and self.end - self.acked < self.window and self.final is None

    @property
    def pending(self) -> bool:
        """Whether :meth:`next_frame` has something to send."""
        return bool(self._unsent) or (self.final is not None and not self._fin_sent)

    def next_frame(self, ack: int | None = None) -> memoryview | None:
        """
        Return what to send next, or None; ``leaving`` is to be unset when all of it is sent.

        Header and payload lie in one piece. ``ack``, where given, goes before them as a frame of its own.
        """
        if not self._unsent:
            return self._fin_frame(ack)
        segment = self._unsent.popleft()
        self._sent.append(segment)
        self.leaving = True
        end, offset, view = segment.end, segment.offset, segment.slab.view
        at = segment.start - _HEADER
        size = end - segment.start
        if offset + size > self._promised:
            self._promised = offset + size
        _pack_into(view, at, _DATA, size, offset)
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
        How far the other end can have heard of the stream on the present link; the FIN counts as one.

        Of a frame that is still leaving it may have all but the last byte: it takes bytes as they come, and acknowledges them.
        """
        if self.leaving:
            return self._sent[-1].stop - 1
        return self._unsent[0].offset if self._unsent else self.end + self._fin_sent

    def acknowledge(self, offset: int) -> None:
        """
        The other end has everything before ``offset`` and will never ask for it again.

        :raise ProtocolViolation: it was never sent, or is still being sent: its memory must not be lent to others meanwhile.
        """
        if offset > self.sent:
            raise ProtocolViolation(f"{offset} bytes are acknowledged, but only {self.sent} were sent")
        if offset > self.acked:
            self.acked = offset
            self._forget(offset)

    def rewind(self, offset: int) -> int:
        """
        A new link is there, and the other end has received everything before ``offset``: send again from there.

        Returns how many bytes that is. Nothing is changed where it raises.

        :raise ProtocolViolation: those bytes were never sent.
        :raise ResumeRefused: the other end has already had more of them: its request is an old one that has come late.
        """
        if offset > self._promised:
            raise ProtocolViolation(f"a resume at {offset}, but only {self._promised} bytes were sent")
        if offset < max(self.acked, self._resumed):
            raise ResumeRefused(f"a resume at {offset}, but {max(self.acked, self._resumed)} bytes have arrived before")
        again = max(0, (self._unsent[0].offset if self._unsent else self.end) - offset)
        self._resumed = offset
        self.leaving = False
        self._forget(offset)
        while self._sent:
            self._unsent.appendleft(self._sent.pop())
        if self._unsent and self._unsent[0].offset < offset:
            first = self._unsent[0]
            first.start += offset - first.offset
            first.offset = offset
        self._fin_sent = self.final is not None and offset > self.final
        return again

    def clear(self) -> None:
        """Forget everything: the channel is over."""
        self.finish()
        for segment in (*self._sent, *self._unsent):
            self._release(segment)
        self._sent.clear()
        self._unsent.clear()

    def _extends(self, slab: Slab) -> bool:
        """Whether the next bytes join the last piece: it lies at the slab's end and is not on its way yet."""
        last = self._unsent[-1]
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
        slab = segment.slab
        slab.users -= 1
        if not slab.users:
            if slab is self._slab:
                self._slab = None
            self._pool.give(slab)


class Inbound:
    """
    The receiving half: what came from the other end, until the local socket's kernel has it.

    Its bound: ``window`` bytes wait at most; a sender that exceeds it breaks the protocol.
    """

    #: Acknowledge at the latest when so many bytes were written: often enough that the sender's memory stays in its CPU's cache.
    ACK_EVERY = 1024 * 1024

    def __init__(self, window: int, pool: SlabPool) -> None:
        self.agree(window)
        self.received = 0  # the next offset that is expected; one more than the end once the FIN is there
        self.written = 0  # everything before it is in the local socket's kernel; the same for the end
        self.final: int | None = None
        self.backlog = Backlog(pool)
        self._acked = 0

    def __repr__(self) -> str:
        return f"<Inbound {self.written}..{self.received} final={self.final}>"

    def agree(self, window: int) -> None:
        """Both ends keep ``window`` bytes; a small window is acknowledged often enough that the sender need not stop."""
        self.window = window
        self._ack_every = min(self.ACK_EVERY, window // 4)
        self._ack_along = self._ack_every // 16

    @property
    def done(self) -> bool:
        """Whether everything is written, and the local socket knows that it was all."""
        return self.final is not None and self.written > self.final

    @property
    def ended(self) -> bool:
        """Whether all data is written, and only the end itself is still to be told to the local socket."""
        return self.final is not None and self.written == self.final

    def accept(self, offset: int, count: int) -> None:
        """
        ``count`` bytes have come that belong at ``offset``.

        :raise ProtocolViolation: something is missing before them, they come after the end, or there is no room for them.
        """
        if self.final is not None or offset != self.received:
            raise ProtocolViolation(f"bytes for offset {offset} came, but {self.received} is next")
        if offset + count - self.written > self.window:
            raise ProtocolViolation(f"more than the window of {self.window} bytes came without an acknowledgement")
        self.received += count

    def accept_end(self, offset: int) -> None:
        """
        The other end has sent its FIN: both must have counted the same.

        :raise ProtocolViolation: they have not.
        """
        if self.final is not None or offset != self.received:
            raise ProtocolViolation(f"the stream ends at {offset}, but {self.received} bytes came")
        self.final = offset
        self.received = offset + 1

    def wrote(self, count: int) -> None:
        """``count`` more bytes are in the local socket's kernel (or, with the end, the end is)."""
        self.written += count

    @property
    def owed(self) -> int:
        """How many bytes were written that the other end does not know of; the end counts as one."""
        return self.written - self._acked

    @property
    def ack_due(self) -> bool:
        """Whether the other end should be told now."""
        owed = self.written - self._acked
        return owed >= self._ack_every or (owed > 0 and self.done)

    def ack_along(self) -> int | None:
        """As :meth:`take_ack`, for an acknowledgement that travels with data; None when it is not worth the other end's time yet."""
        return self.take_ack() if self.written - self._acked >= self._ack_along else None

    def take_ack(self) -> int:
        """Return the offset to acknowledge, which counts as told from now on."""
        self._acked = self.written
        return self.written
