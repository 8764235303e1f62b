"""
Sealed wires: a socket that is encrypted record by record once TLS has exchanged the keys; see ``seal`` for why and how.

A record can be authenticated only as a whole. So while the rest of a large one is missing, the kernel is asked to report nothing less
(SO_RCVLOWAT, socket(7)): the rest is read in one call, and takes no memory here meanwhile.
"""

from __future__ import annotations

import socket

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.records import RecordReader
from nbdtun.tunnel.protocol.seal import MAX_RECORD, Seals
from nbdtun.tunnel.protocol.slab import Slab, SlabPool
from nbdtun.tunnel.wires.plain import BufferedWire, Wire

#: The fewest missing bytes that the kernel is asked to wait for.
BULK = 32 * 1024

#: The most payload of a link's first record. The limit grows by all that is sent, up to ``MAX_RECORD``. So nearly half of the bytes that a
#: line carries before it is cut arrive, or more, and a channel makes progress on a line that is cut again and again.
FIRST_RECORD = 16 * 1024


class SealedWire(BufferedWire):
    """
    Takes over the socket of ``wire``; ``records`` lends buffers of ``seal.BUFFER`` bytes.

    As with TLS, a write that found no room must be repeated with the same bytes: their record is already sealed and counted.
    """

    plain = False

    def __init__(self, wire: Wire, seals: Seals, records: SlabPool) -> None:
        super().__init__(wire.selector, wire.detach(), wire.user)
        self._seal = seals.outgoing.seal
        self._records = records
        self._most = FIRST_RECORD
        self._leaving: Slab | None = None  # a record that is not sent completely
        self._left = memoryview(b"")  # the rest of it
        self._reader = RecordReader(seals.incoming, records)
        self._wanted = 1  # bytes that must be there before the kernel reports any

    @property
    def pending(self) -> bool:
        """Whether a whole record has arrived."""
        return self._reader.missing == 0

    def read_into(self, buffer: memoryview) -> int | None:
        """
        See :meth:`Wire.read_into`; fills the buffer, which has room for at least ``MAX_RECORD`` bytes, from whole records.

        :raise OSError: the connection broke, or a record failed authentication.
        """
        reader = self._reader
        try:
            if reader.missing != 0:
                try:
                    count = self._receive(reader.space())
                except BlockingIOError:
                    count = None
                reader.filled(count or 0)
                if not count:
                    return count
                self.partial += count
            filled = reader.take(buffer)
        except ProtocolViolation as forged:
            raise ConnectionAbortedError(str(forged)) from forged
        missing = reader.missing
        self._wait_for(missing if missing is not None and missing >= BULK else 1)
        return filled or None

    def write(self, data: memoryview) -> int:
        """See :meth:`Wire.write`."""
        size = min(len(data), self._most)
        if self._leaving is None:
            slab = self._records.take()
            self._left = slab.view[: self._seal(data[:size], slab.view)]
            self._leaving = slab
        try:
            sent = self._send(self._left)
        except BlockingIOError:
            return 0
        if sent < len(self._left):
            self._left = self._left[sent:]
            return 0
        self._records.give(self._leaving)
        self._leaving = None
        self._most = min(self._most + size, MAX_RECORD)
        return size

    def write_all(self, pieces: list[memoryview]) -> int:
        """See :meth:`Wire.write_all`; one piece at a time."""
        return self.write(pieces[0])

    def detach(self) -> socket.socket:
        """See :meth:`Wire.detach`."""
        if self._leaving is not None:
            self._records.give(self._leaving)
            self._leaving = None
        self._reader.clear()
        self._wait_for(1)
        return super().detach()

    def _wait_for(self, count: int) -> None:
        if count != self._wanted:
            self._wanted = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
