"""
Slabs: the memory that bytes pass through.

Large short-lived ``bytes`` objects make malloc give memory back and fault it in again with every read, which costs more than the
copying. So buffers are made once, lent, and taken back; the one that was given back last is lent first, because it is still in the
CPU's cache.
"""

from __future__ import annotations

import mmap
from collections import deque

#: Bytes of one slab: two reads of a local socket at least (its default buffer has 208 KiB), and little enough that the few slabs in use
#: stay in the CPU's cache. It is less than ``MAX_DATA``: what lies together in a slab fits into one frame.
SLAB_SIZE = 512 * 1024


class Slab:
    """A buffer that is filled from its start; ``users`` says how many pieces of it are still needed."""

    __slots__ = ("size", "used", "users", "view")

    def __init__(self, size: int = SLAB_SIZE) -> None:
        # Anonymous memory of its own: only what is written to takes room, and all of it goes back to the system at the end.
        self.view = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.size = size
        self.used = 0
        self.users = 0


#: Slabs that a pool keeps for later: making one anew costs a page fault for each 4 KiB. And those it keeps when a channel has ended.
KEEP, KEEP_FOR_THE_NEXT = 256, 32


class SlabPool:
    """
    Lends slabs to all channels of a process.

    It bounds only what it keeps for later (``keep`` slabs); how many are lent is bounded by the channels' windows.
    """

    def __init__(self, keep: int = KEEP, size: int = SLAB_SIZE) -> None:
        self._free: list[Slab] = []
        self._keep = keep
        self._size = size
        self._scratch: memoryview | None = None

    def take(self) -> Slab:
        """Lend an empty slab."""
        return self._free.pop() if self._free else Slab(self._size)

    def give(self, slab: Slab) -> None:
        """Take a slab back that nobody needs any more."""
        slab.used = slab.users = 0
        if len(self._free) < self._keep:
            self._free.append(slab)

    def trim(self) -> None:
        """The traffic may be over: give memory back to the system."""
        del self._free[:-KEEP_FOR_THE_NEXT]

    @property
    def scratch(self) -> memoryview:
        """A buffer for whoever reads and is done with it before returning to the reactor; all links share it."""
        if self._scratch is None:
            self._scratch = memoryview(bytearray(self._size))
        return self._scratch


class Backlog:
    """Bytes that wait for a socket, copied closely together: it takes no more memory than its bytes and one slab."""

    def __init__(self, pool: SlabPool) -> None:
        self._pool = pool
        self._slabs: deque[Slab] = deque()
        self._start = 0  # where in the first slab the waiting bytes begin
        self.size = 0  # bytes that wait; looked at with every write, which is why it is no property

    def __len__(self) -> int:
        return self.size

    def append(self, data: memoryview) -> None:
        """Copy ``data`` to the end."""
        self.size += len(data)
        while data:
            if not self._slabs or self._slabs[-1].used == self._slabs[-1].size:
                self._slabs.append(self._pool.take())
            slab = self._slabs[-1]
            take = min(len(data), slab.size - slab.used)
            slab.view[slab.used : slab.used + take] = data[:take]
            slab.used += take
            data = data[take:]

    def head(self) -> memoryview:
        """The first bytes that wait, as many as lie together."""
        slab = self._slabs[0]
        return slab.view[self._start : slab.used]

    def consume(self, count: int) -> None:
        """Forget the first ``count`` bytes, which must be part of :meth:`head`."""
        self._start += count
        self.size -= count
        if self._start == self._slabs[0].used:
            self._pool.give(self._slabs.popleft())
            self._start = 0

    def clear(self) -> None:
        """Forget everything."""
        self.size = 0
        while self._slabs:
            self._pool.give(self._slabs.popleft())
        self._start = 0
