"""
Growth: a sender begins with part of its window, and uses more of it once the line is seen to hold more.

A line holds its rate times its round trip, 19 MB at 1 Gbit/s and 150 ms. Twice that keeps it full while acknowledgements are on their way.
So TCP sizes its own buffers (Linux's ``tcp_rcv_space_adjust``, net/ipv4/tcp_input.c). A slow disk at the other end is no reason to keep
more: it takes little within a round trip, whatever waits for it. Rules only: no socket, no clock.

An urgent channel begins with less. A guest stands still until the last byte of its memory has arrived, behind all that is under way: with
twice what the line holds, that is one round trip more.
"""

from __future__ import annotations

#: Bytes that each direction of a channel may keep from its beginning: enough for 10 Gbit/s and 13 ms.
START = 16 * 1024 * 1024

#: The same for an urgent channel: what a near end can use.
URGENT_START = 2 * 1024 * 1024

#: Bytes beyond ``START`` that all windows of a process have together.
SPARE = 1024 * 1024 * 1024


class Spare:
    """The process's bytes for windows larger than ``START``; ``left`` are not lent."""

    def __init__(self, left: int = SPARE) -> None:
        self.left = left

    def __repr__(self) -> str:
        return f"<Spare left={self.left}>"

    def lend(self, window: int) -> int:
        """Return the window of a new channel: ``window``, or less of it if too little is left."""
        more = min(max(0, window - START), self.left)
        self.left -= more
        return min(window, START) + more

    def give_back(self, window: int) -> None:
        """The channel that had this window is over."""
        self.left += max(0, window - START)


class Growth:
    """How many bytes (``limit``) of its ``window`` a sender uses now, and ``start`` at first."""

    __slots__ = ("_from", "_since", "_start", "limit", "waited", "window")

    def __init__(self, window: int, start: int = START) -> None:
        self._start = start
        self.agree(window)
        self.begin()

    def agree(self, window: int) -> None:
        """Both ends keep up to ``window`` bytes."""
        self.window = window
        self.limit = min(window, self._start)

    def begin(self) -> None:
        """Begin to measure: there is a new link."""
        self.waited = False  # the limit has stopped the sender since the measurement began
        self._since: float | None = None
        self._from = 0

    def delivered(self, acked: int, now: float, round_trip: float) -> None:
        """
        The other end has everything before ``acked`` at ``now``; ``round_trip`` is the shortest that was seen. All times in seconds.

        After each round trip in which the limit stopped the sender, it becomes twice what was delivered in one, if that is more.
        """
        if self._since is not None and now - self._since < round_trip:
            return
        if self._since is not None and self.waited:
            held = (acked - self._from) * round_trip / (now - self._since)
            self.limit = max(self.limit, min(self.window, int(2 * held)))
        self.waited, self._since, self._from = False, now, acked
