"""
Bytes in flight, and how many of them each channel may have.

They lie in memory: here for a replay, and in the kernel's buffers. A window holds what the longest of lines holds. Where the
other end is near, a full one is of no use to the line, and so many buffers are never in the processor's cache when they are wanted: each
byte then costs half as much again. So the busy channels divide what the line holds. Rules only: no socket, no clock.
"""

from __future__ import annotations

#: Bytes that a channel may always have under way: three reads of its local socket. With less than that it waits for an acknowledgement of
#: each read, and many channels cost more for these than they save by being in the cache.
LEAST = 512 * 1024


class InFlight:
    """What all channels of a process have in common. ``busy`` counts those that have bytes under way."""

    def __init__(self) -> None:
        self.busy = 0

    def __repr__(self) -> str:
        return f"<InFlight busy={self.busy}>"

    def allowance(self, window: int, bdp: int) -> int:
        """Bytes that one channel may have under way, of the ``bdp`` of its line; never more than its ``window``."""
        return min(window, max(bdp // (self.busy or 1), LEAST))


def ack_interval(allowance: int) -> int:
    """
    Return the bytes after which an acknowledgement is asked for, by a channel that may have ``allowance`` bytes under way.

    Asked for twice in an allowance, it is there before the channel has to wait. Where there are so many channels that each has the least,
    the others use the line meanwhile, and half the acknowledgements are spared.
    """
    return allowance // 2 if allowance > LEAST else allowance
