"""
Bytes in flight, and how many of them each channel may have.

They are kept in memory: here for a replay, and in the kernel's buffers. A window is large enough for the longest line. Where the other end
is near, a full window does not help the line, and so many buffers are never in the processor's cache when they are needed: each byte then
costs half as much again. So the busy channels divide the bytes that the line holds. Rules only: no socket, no clock.
"""

from __future__ import annotations

#: Bytes that a channel may always have in flight: three reads of its local socket. With less, it waits for an acknowledgement after each
#: read, and with many channels these acknowledgements cost more than the cache saves.
LEAST = 512 * 1024


class InFlight:
    """Shared by all channels of a process. ``busy`` counts those that have bytes in flight."""

    def __init__(self) -> None:
        self.busy = 0

    def __repr__(self) -> str:
        return f"<InFlight busy={self.busy}>"

    def allowance(self, window: int, bdp: int) -> int:
        """Bytes that one channel may have in flight: its share of the line's ``bdp``, never more than its ``window``."""
        return min(window, max(bdp // (self.busy or 1), LEAST))


def ack_interval(allowance: int) -> int:
    """
    Return the bytes after which a channel with ``allowance`` bytes in flight asks for an acknowledgement.

    Asked for twice in an allowance, it arrives before the channel has to wait. When so many channels are busy that each has the least, the
    others use the line meanwhile, and half the acknowledgements are saved.
    """
    return allowance // 2 if allowance > LEAST else allowance
