"""
Growth: a sender begins with part of its window, and uses more of it once the line is seen to hold more.

A line holds its rate times its round trip, 19 MB at 1 Gbit/s and 150 ms. Twice that keeps it full while acknowledgements are on their way.
So TCP sizes its own buffers (Linux's ``tcp_rcv_space_adjust``, net/ipv4/tcp_input.c). A slow disk at the other end is no reason to keep
more: it takes little within a round trip, whatever waits for it. Rules only: no socket, no clock.

An urgent channel takes less. A paused guest waits for the last byte of its memory, which arrives behind everything that is under way.
Bytes that the line does not hold queue in front of it. A full queue drops packets, the disks' too, and the guest waits for those as well.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Bytes that each direction of a channel may keep from its beginning: enough for 10 Gbit/s and 13 ms.
START = 16 * 1024 * 1024


class Appetite(NamedTuple):
    """
    What a sender takes: ``start`` bytes at first, and later so many ``times`` what the line was seen to hold, and some ``more``. One that
    is ``wary`` believes only what it saw twice.
    """

    start: int
    times: int
    more: int
    wary: bool


#: Twice what the line holds keeps it full while acknowledgements are on their way.
BULK: Final = Appetite(START, 2, 0, wary=False)

#: At first what a near end can use; and later no more than that waits before the line.
URGENT: Final = Appetite(2 * 1024 * 1024, 1, 2 * 1024 * 1024, wary=True)

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

    def share(self, count: int) -> int:
        """Part with an equal part for each of ``count`` other processes, and keep one; returns the bytes of a part."""
        part = self.left // (count + 1)
        self.left -= part * count
        return part

    def give_back(self, window: int) -> None:
        """The channel that had this window is over."""
        self.left += max(0, window - START)


class Growth:
    """How many bytes (``limit``) of its ``window`` a sender with this ``appetite`` uses now."""

    __slots__ = ("_appetite", "_before", "_from", "_since", "limit", "waited", "window")

    def __init__(self, window: int, appetite: Appetite = BULK) -> None:
        self._appetite = appetite
        self.agree(window)
        self.begin()

    def agree(self, window: int) -> None:
        """Both ends keep up to ``window`` bytes."""
        self.window = window
        self.limit = min(window, self._appetite.start)

    def begin(self) -> None:
        """Begin to measure: there is a new link."""
        self.waited = False  # the limit has stopped the sender since the measurement began
        self._since: float | None = None
        self._from = 0
        self._before = 0.0  # what was delivered in the round trip before

    def delivered(self, acked: int, now: float, round_trip: float) -> None:
        """
        The other end has everything before ``acked`` at ``now``; ``round_trip`` is the shortest that was seen. All times in seconds.

        It grows after each round trip in which it stopped the sender and at least half of it was delivered. For one that is wary the
        lesser of two in a row counts: all that was held up behind a lost packet arrives in one moment.
        """
        if self._since is not None and now - self._since < round_trip:
            return
        if self._since is not None:
            held = (acked - self._from) * round_trip / (now - self._since)
            if self.waited:
                self._see(int(min(held, self._before) if self._appetite.wary else held))
            self._before = held
        self.waited, self._since, self._from = False, now, acked

    def _see(self, held: int) -> None:
        """The line holds so many bytes, or more."""
        if 2 * held > self.limit:
            self.limit = max(self.limit, min(self.window, self._appetite.times * held + self._appetite.more))
