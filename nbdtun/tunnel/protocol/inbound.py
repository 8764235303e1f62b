"""
The inbound stream: the receiving half of a direction of a channel; see ``outbound`` for the other. Rules only: no socket, no clock.
"""

from __future__ import annotations

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.slab import Backlog, SlabPool
from nbdtun.units import size_text

#: Acknowledge at the latest when so many bytes were written: often enough that the sender's memory stays in its CPU's cache.
ACK_EVERY = 1024 * 1024

#: Times that at least are acknowledged in each window, or share of it, so that the sender need not stop.
ACKS = 4


class Inbound:
    """
    The receiving half: what came from the other end, until the local socket's kernel has it.

    Its bound: ``window`` bytes wait at most; a sender that exceeds it breaks the protocol.
    """

    def __init__(self, window: int, pool: SlabPool) -> None:
        self.acked = 0  # up to where the other end knows that it was written
        self._asked = 0  # up to where the other end wants to be told
        self.agree(window)
        self.received = 0  # the next offset that is expected; one more than the end once the FIN is there
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
        self._due = self.acked + self._ack_every  # tell the other end when so much was written

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

        :raise ProtocolViolation: as :meth:`expect`.
        """
        self.expect(offset, count)
        self.received += count

    def expect(self, offset: int, count: int) -> None:
        """
        ``count`` bytes are about to come that belong at ``offset``.

        :raise ProtocolViolation: something is missing before them, they come after the end, or there is no room for them.
        """
        if self.final is not None or offset != self.received:
            raise ProtocolViolation(f"data for offset {offset} arrived, but {self.received} is next")
        if offset + count - self.written > self.window:
            raise ProtocolViolation(f"more than the window of {size_text(self.window)} arrived without an acknowledgement")

    def asked(self, offset: int) -> None:
        """The other end wants to know when everything before ``offset`` is written."""
        self._asked = max(self._asked, offset)
        self._due = min(self._due, offset)

    def accept_end(self, offset: int) -> None:
        """
        The other end has sent its FIN: both must have counted the same.

        :raise ProtocolViolation: they have not.
        """
        if self.final is not None or offset != self.received:
            raise ProtocolViolation(f"the stream ends at {offset}, but {self.received} bytes arrived")
        self.final = offset
        self.received = offset + 1

    def wrote(self, count: int) -> None:
        """``count`` more bytes are in the local socket's kernel (or, with the end, the end is)."""
        self.written += count

    @property
    def owed(self) -> int:
        """How many bytes were written that the other end does not know of; the end counts as one."""
        return self.written - self.acked

    @property
    def ack_due(self) -> bool:
        """Whether the other end should be told now."""
        written, final = self.written, self.final
        return written >= self._due or (final is not None and written > final and written > self.acked)

    def ack_along(self) -> int | None:
        """As :meth:`take_ack`, for an acknowledgement that travels with data; None when it is not worth the other end's time yet."""
        return self.take_ack() if self.written - self.acked >= self._ack_along else None

    def take_ack(self) -> int:
        """Return the offset to acknowledge, which counts as told from now on."""
        self.acked = self.written
        self._due = self.written + self._ack_every
        if self.written < self._asked < self._due:
            self._due = self._asked
        return self.written
