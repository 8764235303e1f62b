"""
The reader: where a link's sealed records come in. Rules only: no socket, no clock.

It says where the next bytes go and how many are wanted: those that a record still lacks, and with them the next one's header, so that the
next read, too, can be just as long as it has to be. A buffer is lent while there is more than such a header: mostly, all links read into
the same one, which the processor still has in its cache.
"""

from __future__ import annotations

from nbdtun.tunnel.protocol.seal import HEADER, OVERHEAD, Seal, measure
from nbdtun.tunnel.protocol.slab import Slab, SlabPool


class RecordReader:
    """Records as they come, until they are opened with ``seal``; ``pool`` lends buffers of ``seal.BUFFER`` bytes."""

    def __init__(self, seal: Seal, pool: SlabPool) -> None:
        self._open = seal.open
        self._pool = pool
        self._slab: Slab | None = None
        self._header = b""  # of the next record, or the beginning of that, where nothing else is there
        self._size = 0  # of the next record, once its header is there
        self.missing: int | None = None  # bytes of the next record, 0 when it is whole; None before its header is there

    def __repr__(self) -> str:
        return f"<RecordReader missing={self.missing}>"

    def space(self) -> memoryview:
        """Where the next bytes go."""
        slab = self._slab
        if slab is None:
            slab = self._slab = self._pool.take()
            slab.used = len(self._header)
            slab.view[: slab.used] = self._header
        end = slab.size if self.missing is None else slab.used + self.missing + HEADER
        return slab.view[slab.used : end]

    def filled(self, count: int) -> None:
        """
        ``count`` bytes, or none, were put where :meth:`space` said.

        :raise ProtocolViolation: they are no records.
        """
        slab = self._slab
        assert slab is not None
        slab.used += count
        self._look(slab, 0)
        self._keep(slab, 0)

    def take(self, buffer: memoryview) -> int:
        """
        Open all whole records for which ``buffer`` has room, and return how many bytes of it they fill.

        :raise ProtocolViolation: they are not the other end's.
        """
        slab, start, filled = self._slab, 0, 0
        if slab is None:
            return 0
        while self.missing == 0 and self._size <= len(buffer) - filled + OVERHEAD:
            stop = start + self._size
            filled += self._open(slab.view[start:stop], buffer[filled:])
            start = stop
            self._look(slab, start)
        self._keep(slab, start)
        return filled

    def clear(self) -> None:
        """Forget everything."""
        slab, self._slab = self._slab, None
        if slab is not None:
            self._pool.give(slab)

    def _look(self, slab: Slab, start: int) -> None:
        """Is there a record at ``start``, and how much of it?"""
        size = measure(slab.view, start, slab.used)
        if size is None:
            self.missing = None
        else:
            self._size = size
            self.missing = max(0, size - (slab.used - start))

    def _keep(self, slab: Slab, start: int) -> None:
        """What was before ``start`` is needed no more."""
        view, end = slab.view, slab.used
        if end - start <= HEADER:
            self._header = bytes(view[start:end])
            self.clear()
        elif start:
            slab.used = end - start
            view[: slab.used] = view[start:end]
