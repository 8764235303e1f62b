"""
The reader: it collects a link's sealed records. Rules only: no socket, no clock.

It says where the next bytes go and how many are wanted: the rest of a record, and the next one's header, so that the next read can have
exactly the right length, too. A buffer is borrowed only while more than such a header is kept. So all links mostly read into the same
buffer, which is still in the processor's cache.
"""

from __future__ import annotations

from nbdtun.tunnel.protocol.seal import HEADER, OVERHEAD, Seal, measure
from nbdtun.tunnel.protocol.slab import Slab, SlabPool


class RecordReader:
    """Collects records until they are opened with ``seal``; ``pool`` lends buffers of ``seal.BUFFER`` bytes."""

    def __init__(self, seal: Seal, pool: SlabPool) -> None:
        self._open = seal.open
        self._pool = pool
        self._slab: Slab | None = None
        self._header = b""  # of the next record, or its beginning, while nothing else has arrived
        self._size = 0  # of the next record, once its header has arrived
        self.missing: int | None = None  # bytes that the next record lacks, 0 when it is whole; None before its header has arrived

    def __repr__(self) -> str:
        return f"<RecordReader missing={self.missing}>"

    def space(self) -> memoryview:
        """Return where the next bytes go."""
        slab = self._slab
        if slab is None:
            slab = self._slab = self._pool.take()
            slab.used = len(self._header)
            slab.view[: slab.used] = self._header
        end = slab.size if self.missing is None else slab.used + self.missing + HEADER
        return slab.view[slab.used : end]

    def filled(self, count: int) -> None:
        """
        ``count`` bytes (perhaps 0) were put into the buffer from :meth:`space`.

        :raise ProtocolViolation: they are not records.
        """
        slab = self._slab
        assert slab is not None
        slab.used += count
        self._measure(slab, 0)
        self._keep(slab, 0)

    def take(self, buffer: memoryview) -> int:
        """
        Open all whole records for which ``buffer`` has room, and return how many bytes of it they fill.

        :raise ProtocolViolation: the other end has not sealed them.
        """
        slab, start, filled = self._slab, 0, 0
        if slab is None:
            return 0
        while self.missing == 0 and self._size <= len(buffer) - filled + OVERHEAD:
            stop = start + self._size
            filled += self._open(slab.view[start:stop], buffer[filled:])
            start = stop
            self._measure(slab, start)
        self._keep(slab, start)
        return filled

    def clear(self) -> None:
        """Forget everything."""
        slab, self._slab = self._slab, None
        if slab is not None:
            self._pool.give(slab)

    def _measure(self, slab: Slab, start: int) -> None:
        """Measure the record at ``start``, and how much of it is missing."""
        size = measure(slab.view, start, slab.used)
        if size is None:
            self.missing = None
        else:
            self._size = size
            self.missing = max(0, size - (slab.used - start))

    def _keep(self, slab: Slab, start: int) -> None:
        """Drop the bytes before ``start``."""
        view, end = slab.view, slab.used
        if end - start <= HEADER:
            self._header = bytes(view[start:end])
            self.clear()
        elif start:
            slab.used = end - start
            view[: slab.used] = view[start:end]
