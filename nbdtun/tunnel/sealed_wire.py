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
        self._size: int | None = None  # of the record that begins there, as far as that is known

    @property
    def hoards(self) -> bool:
        """Whether a whole record is there."""
        return self._size is not None and self._coming is not None and self._coming.used - self._start >= self._size

    def read_into(self, buffer: memoryview) -> int | None:
        """
        See :meth:`Wire.read_into`; fills the buffer, which has room for at least ``MAX_RECORD`` bytes, from the whole records there are.

        :raise OSError: the connection broke, or what is on it is not the other end's.
        """
        try:
            if not self.hoards and not (count := self._fetch()):
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
        self._left = self._left[super().write(self._left) :]
        if self._left:
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
        self._leaving = self._coming = self._size = None
        return super().detach()

    def _fetch(self) -> int | None:
        """Read more, to the end of the record that is known to come, so that the next one begins at the buffer's beginning."""
        slab = self._coming = self._coming or self._records.take()
        if self._start + (self._size or HEADER) > slab.size:
            slab.view[: slab.used - self._start] = slab.view[self._start : slab.used]
            slab.used, self._start = slab.used - self._start, 0
        end = slab.size if self._size is None else self._start + self._size
        count = super().read_into(slab.view[slab.used : end])
        if count:
            self.stirred = True
            slab.used += count
        self._keep(slab)
        return count

    def _open_all(self, buffer: memoryview) -> int | None:
        slab, filled = self._coming, 0
        assert slab is not None
        while self._size is not None and self._size <= min(slab.used - self._start, len(buffer) - filled + OVERHEAD):
            filled += self._open(slab.view[self._start : self._start + self._size], buffer[filled:])
            self._start += self._size
            self._keep(slab)
        return filled or None

    def _keep(self, slab: Slab) -> None:
        """``slab`` has what is to be read next; or nothing, then it goes back."""
        if self._start == slab.used:
            self._records.give(slab)
            self._coming, self._start, self._size = None, 0, None
        else:
            self._coming, self._size = slab, measure(slab.view[self._start : slab.used])
