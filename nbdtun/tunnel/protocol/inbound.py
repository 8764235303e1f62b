"""
The inbound stream: the receiving half of a direction of a channel; see ``outbound`` for the other. Rules only: no socket, no clock.
"""

from __future__ import annotations

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.slab import Backlog, SlabPool
from nbdtun.units import size_text

#: The most bytes between two acknowledgements: few enough that the sender's memory stays in its CPU's cache.
ACK_EVERY = 1024 * 1024

#: The fewest acknowledgements in each window, or share of it, so that the sender need not stop.
ACKS = 4


class Inbound:
    """
    The receiving half: it keeps bytes from the other end until they are in the local socket's kernel buffer.

    At most ``window`` bytes wait; a sender that exceeds this violates the protocol.
    """

    def __init__(self, window: int, pool: SlabPool) -> None:
        self.acked = 0  # up to where writes are acknowledged to the other end
        self._asked = 0  # up to where the other end asked for an acknowledgement
        self.agree(window)
        self.received = 0  # the next expected offset; one more than the end once the FIN has arrived
        self.written = 0  # everything before it is in the local socket's kernel; the same for the end
        self.final: int | None = None
        self.backlog = Backlog(pool)

    def __repr__(self) -> str:
        return f"<Inbound {self.written}..{self.received} final={self.final}>"

    def agree(self, window: int) -> None:
        """Both ends keep ``window`` bytes; a small window is acknowledged often enough that the sender need not stop."""
        self.window = window
        self._ack_every = min(ACK_EVERY, window // ACKS)
        self._ack_along = self._ack_every // 16
        self._due = self.acked + self._ack_every  # acknowledge when this offset is written

    @property
    def done(self) -> bool:
        """Whether everything is written to the local socket, including the end."""
        return self.final is not None and self.written > self.final

    @property
    def ended(self) -> bool:
        """Whether all data is written, and only the end itself is missing."""
        return self.final is not None and self.written == self.final

    def accept(self, offset: int, count: int) -> None:
        """
        ``count`` bytes have arrived for ``offset``.

        :raise ProtocolViolation: as :meth:`expect`.
        """
        self.expect(offset, count)
        self.received += count

    def expect(self, offset: int, count: int) -> None:
        """
        ``count`` bytes are about to arrive for ``offset``.

        :raise ProtocolViolation: bytes before them are missing, they are beyond the end, or they exceed the window.
        """
        if self.final is not None or offset != self.received:
            raise ProtocolViolation(f"data for offset {offset} arrived, but {self.received} is next")
        if offset + count - self.written > self.window:
            raise ProtocolViolation(f"more than the window of {size_text(self.window)} arrived without an acknowledgement")

    def asked(self, offset: int) -> None:
        """The other end asks for an acknowledgement when everything before ``offset`` is written."""
        self._asked = max(self._asked, offset)
        self._due = min(self._due, offset)

    def accept_end(self, offset: int) -> None:
        """
        The other end has sent its FIN: both ends must have counted the same.

        :raise ProtocolViolation: they differ.
        """
        if self.final is not None or offset != self.received:
            raise ProtocolViolation(f"the stream ends at {offset}, but {self.received} bytes arrived")
        self.final = offset
        self.received = offset + 1

    def wrote(self, count: int) -> None:
        """``count`` more bytes are in the local socket's kernel buffer; the end counts as one."""
        self.written += count

    @property
    def owed(self) -> int:
        """Bytes that are written but not acknowledged; the end counts as one."""
        return self.written - self.acked

    @property
    def ack_due(self) -> bool:
        """Whether to acknowledge now."""
        written, final = self.written, self.final
        return written >= self._due or (final is not None and written > final and written > self.acked)

    def ack_along(self) -> int | None:
        """
        As :meth:`take_ack`, for an acknowledgement that travels with data; None while it is not worth the other end's time.

        One that is due travels too: while there is always data to send, it has no frame of its own.
        """
        return self.take_ack() if self.written - self.acked >= self._ack_along or self.ack_due else None

    def take_ack(self) -> int:
        """Return the offset to acknowledge, which counts as acknowledged from now on."""
        self.acked = self.written
        self._due = self.written + self._ack_every
        if self.written < self._asked < self._due:
            self._due = self._asked
        return self.written
