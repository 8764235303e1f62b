"""
Sealed wires: a socket whose TLS has done its part, from then on encrypted record by record; see ``seal`` for why and how.

A record is received as a whole before any of it is believed. The buffer that it comes into is lent to a wire while a part of one is
there, and the one that it leaves from while it has not left: an idle wire holds none.
"""

from __future__ import annotations

import socket

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.seal import HEADER, MAX_RECORD, OVERHEAD, Seals, measure
from nbdtun.tunnel.slab import Slab, SlabPool
from nbdtun.tunnel.wire import HoardingWire, Wire


class SealedWire(HoardingWire):
    """
    Takes over the socket of ``wire``; ``records`` lends buffers of ``seal.BUFFER`` bytes.

    As with TLS, a write that found no room must be repeated with the same bytes: their record is made, and counted, already.
    """

    plain = False

    def __init__(self, wire: Wire, seals: Seals, records: SlabPool) -> None:
        super().__init__(wire.watch, wire.detach(), wire.user)
        self._seal, self._open = seals.outgoing.close, seals.incoming.open
        self._records = records
        self._leaving: Slab | None = None  # a record, for which there was not enough room
        self._left = memoryview(b"")  # what of it has not left
        self._coming: Slab | None = None  # what came and was not read yet, from `_start` on
        self._start = 0

    @property
    def hoards(self) -> bool:
        """Whether a whole record is there."""
        slab, start = self._coming, self._start
        if slab is None:
            return False
        size = measure(slab.view, start, slab.used)
        return size is not None and size <= slab.used - start

    def read_into(self, buffer: memoryview) -> int | None:
        """
        See :meth:`Wire.read_into`; fills the buffer, which has room for at least ``MAX_RECORD`` bytes, from the whole records there are.

        :raise OSError: the connection broke, or what is on it is not the other end's.
        """
        try:
            if self._coming is None or not self.hoards:
                count = self._fetch()
                if not count:
                    return count
            return self._open_all(buffer)
        except ProtocolViolation as forged:
            raise ConnectionAbortedError(str(forged)) from forged

    def write(self, data: memoryview) -> int:
        """See :meth:`Wire.write`."""
        size = min(len(data), MAX_RECORD)
        if self._leaving is None:
            slab = self._leaving = self._records.take()
            self._left = slab.view[: self._seal(data[:size], slab.view)]
        try:
            sent = self._send(self._left)
        except BlockingIOError:
            return 0
        if sent < len(self._left):
            self._left = self._left[sent:]
            return 0
        self._records.give(self._leaving)
        self._leaving = None
        return size

    def write_all(self, pieces: list[memoryview]) -> int:
        """See :meth:`Wire.write_all`; one piece at a time."""
        return self.write(pieces[0])

    def detach(self) -> socket.socket:
        """See :meth:`Wire.detach`."""
        for slab in (self._leaving, self._coming):
            if slab is not None:
                self._records.give(slab)
        self._leaving = self._coming = None
        return super().detach()

    def _fetch(self) -> int | None:
        slab = self._coming
        if slab is None:
            slab = self._coming = self._records.take()
            end = slab.size
        else:
            end = self._end_of_record(slab)
        try:
            count = self._receive(slab.view[slab.used : end])
        except BlockingIOError:
            count = None
        if count:
            self.stirred = True
            slab.used += count
        elif not slab.used:
            self._give_back(slab)
        return count

    def _end_of_record(self, slab: Slab) -> int:
        """How far to read: to the end of the record that has begun, so that the next one begins where the buffer does."""
        size = measure(slab.view, self._start, slab.used)
        if self._start + (size or HEADER) > slab.size:
            slab.view[: slab.used - self._start] = slab.view[self._start : slab.used]
            slab.used, self._start = slab.used - self._start, 0
        return slab.size if size is None else self._start + size

    def _open_all(self, buffer: memoryview) -> int | None:
        slab, start, filled = self._coming, self._start, 0
        assert slab is not None
        view, end = slab.view, slab.used
        size = measure(view, start, end)
        while size is not None and size <= min(end - start, len(buffer) - filled + OVERHEAD):
            filled += self._open(view[start : start + size], buffer[filled:])
            start += size
            size = measure(view, start, end)
        self._start = start
        if start == end:
            self._give_back(slab)
        return filled or None

    def _give_back(self, slab: Slab) -> None:
        self._records.give(slab)
        self._coming, self._start = None, 0
