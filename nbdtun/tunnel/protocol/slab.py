"""
Slabs: the memory that bytes pass through.

Large short-lived ``bytes`` objects make malloc return memory and fault it in again with each read, which costs more than the copying. So
buffers are made once, lent, and returned. The one that was returned last is lent first, because it is still in the CPU's cache.
"""

from __future__ import annotations

import mmap
from collections import deque

#: Bytes of one slab: at least two reads of a local socket (its default buffer has 208 KiB), and small enough that the few slabs in use
#: stay in the CPU's cache. It is less than ``MAX_DATA``, so that a segment in a slab fits into one frame.
SLAB_SIZE = 512 * 1024


class Slab:
    """A buffer that is filled from its start; ``users`` counts the pieces of it that are still needed."""

    __slots__ = ("size", "used", "users", "view")

    def __init__(self, size: int = SLAB_SIZE) -> None:
        # Its own anonymous memory: only written pages take room, and all of them return to the system at the end.
        self.view = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.size = size
        self.used = 0
        self.users = 0


#: Slabs that a pool keeps for later (a new one costs a page fault for each 4 KiB), and those that it keeps when a channel has ended.
KEEP, KEEP_FOR_THE_NEXT = 256, 32


class SlabPool:
    """
    Lends slabs to all channels of a process.

    It limits only the slabs that it keeps for later (``keep``); the channels' windows limit the slabs that are lent.
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
        """Take back a slab that is no longer needed."""
        slab.used = slab.users = 0
        if len(self._free) < self._keep:
            self._free.append(slab)

    def trim(self) -> None:
        """The traffic may be over: return memory to the system."""
        del self._free[:-KEEP_FOR_THE_NEXT]

    @property
    def scratch(self) -> memoryview:
        """A buffer for reads that are processed before returning to the reactor; all links share it."""
        if self._scratch is None:
            self._scratch = memoryview(bytearray(self._size))
        return self._scratch


class Backlog:
    """Bytes that wait for a socket, densely packed: they take no more memory than their size and one slab."""

    def __init__(self, pool: SlabPool) -> None:
        self._pool = pool
        self._slabs: deque[Slab] = deque()
        self._start = 0  # where in the first slab the waiting bytes begin
        self.size = 0  # bytes that wait; not a property, because each write reads it

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
        """Return the first waiting bytes, as many as are contiguous."""
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
