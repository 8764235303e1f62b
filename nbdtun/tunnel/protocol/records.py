"""
The reader: it collects a link's TLS records, and opens those that are whole. Rules only: no socket, no clock.

A buffer is borrowed only while part of a record is kept. So all links mostly read into the same buffer, which is still in the processor's
cache.
"""

from __future__ import annotations

from nbdtun.tls.records.messages import DATA, read_alert
from nbdtun.tls.records.protection import BATCH_SIZE, HEADER, MAX_BODY, TAG, Opener, measure
from nbdtun.tunnel.protocol.slab import Slab, SlabPool

#: Bytes of a buffer for records: a batch, and the beginning of the next record.
BUFFER = BATCH_SIZE + HEADER + MAX_BODY

#: The least room that the receiver of the data must offer: for one record, opened.
ROOM = MAX_BODY - TAG

#: The most kept bytes for which no buffer is borrowed.
FEW = 64


class RecordReader:
    """
    Collects records and opens them with ``opener``; ``pool`` lends buffers of :data:`BUFFER` bytes.

    ``alert`` is the name of the alert with which the other end has ended the connection, once it has.
    """

    def __init__(self, opener: Opener, pool: SlabPool) -> None:
        self._opener = opener
        self._pool = pool
        self._slab: Slab | None = None
        self._few = b""  # the beginning of a record, while nothing else has arrived
        self._size: int | None = None  # of the next record, once its header has arrived
        self.alert: str | None = None

    def __repr__(self) -> str:
        return f"<RecordReader {'few' if self._slab is None else 'some'} alert={self.alert}>"

    @property
    def whole(self) -> bool:
        """Whether a whole record has arrived that is not yet opened."""
        kept = len(self._few) if self._slab is None else self._slab.used
        return self._size is not None and kept >= self._size

    def space(self) -> memoryview:
        """Return where the next bytes go."""
        slab = self._slab
        if slab is None:
            slab = self._slab = self._pool.take()
            slab.used = len(self._few)
            slab.view[: slab.used] = self._few
        return slab.view[slab.used :]

    def filled(self, count: int) -> None:
        """
        ``count`` bytes (perhaps 0) were put into the buffer from :meth:`space`.

        :raise RecordError: they are not records.
        """
        slab = self._slab
        assert slab is not None
        slab.used += count
        self._size = measure(slab.view, 0, slab.used)
        self._keep(slab, 0)

    def take(self, buffer: memoryview) -> int:
        """
        Open whole records as long as ``buffer`` has room for another, and return how many bytes of data they put there.

        :raise RecordError: they are not what TLS 1.3 allows the other end to send now.
        """
        slab = self._slab
        if slab is None:
            return 0
        start, filled, view, end, opener, room = 0, 0, slab.view, slab.used, self._opener, len(buffer) - ROOM
        while self.alert is None:
            start, count = opener.open_full(view, start, end, buffer[filled:])
            filled += count
            size = measure(view, start, end)
            if size is None or start + size > end or filled > room:
                break
            kind, count = opener.open(view[start : start + size], buffer[filled:])
            start += size
            if kind == DATA:
                filled += count
            else:
                self._alerted(bytes(buffer[filled : filled + count]))
        self._size = measure(view, start, end)
        self._keep(slab, start)
        return filled

    def take_rest(self) -> bytes:
        """Return the bytes that are not opened, and forget them."""
        rest = self._few if self._slab is None else bytes(self._slab.view[: self._slab.used])
        self._few, self._size = b"", None
        self.clear()
        return rest

    def clear(self) -> None:
        """Forget everything."""
        slab, self._slab = self._slab, None
        if slab is not None:
            self._pool.give(slab)

    def _alerted(self, payload: bytes) -> None:
        name = read_alert(payload)
        if name != "USER_CANCELED":  # close_notify follows (RFC 8446, 6.1)
            self.alert = name

    def _keep(self, slab: Slab, start: int) -> None:
        """Drop the bytes before ``start``."""
        view, end = slab.view, slab.used
        if end - start <= FEW and not (self._size is not None and self._size <= end - start):
            self._few = bytes(view[start:end])
            self.clear()
        elif start:
            slab.used = end - start
            view[: slab.used] = view[start:end]
