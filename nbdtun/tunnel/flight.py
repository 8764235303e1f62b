"""
The flight: how much each channel may have under way.

What is under way lies in memory: here for a replay, and in the kernel's buffers. A window holds what the longest of lines holds. Where the
other end is near, a full one is of no use to the line, and so many buffers are never in the processor's cache when they are wanted: each
byte then costs half as much again. So the busy channels share what the line holds. Rules only: no socket, no clock.
"""

from __future__ import annotations

#: Bytes that a channel may always have under way: about one read of its local socket.
LEAST = 256 * 1024


class Flight:
    """What all channels of a process share. ``busy`` counts those that have bytes under way."""

    def __init__(self) -> None:
        self.busy = 0

    def __repr__(self) -> str:
        return f"<Flight busy={self.busy}>"

    def share(self, window: int, reach: int) -> int:
        """Bytes that one channel may have under way, of the ``reach`` of its line; never more than its ``window``."""
        return min(window, max(reach // (self.busy or 1), LEAST))
