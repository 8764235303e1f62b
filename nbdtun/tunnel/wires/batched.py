"""
Batched wires: a socket under TLS 1.3 whose records are made here, sixteen for one write; see ``nbdtun.tls.records`` for why.

OpenSSL does the handshake. The other end cannot see which of the two kinds of TLS wires it talks to, nor that another process of the same
host goes on with the connection.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from nbdtun.errors import LinkLost
from nbdtun.tls.handshake import Handshake, Shaken
from nbdtun.tls.presented import Presented
from nbdtun.tls.records.messages import ALERT, CLOSE_NOTIFY, RecordError, fatal
from nbdtun.tls.records.protection import MAX_BATCH, MAX_BODY, Opener, Sealer
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.protocol.records import RecordReader
from nbdtun.tunnel.protocol.slab import Slab, SlabPool
from nbdtun.tunnel.wires.plain import BufferedWire, WireUser
from nbdtun.tunnel.wires.selector import WireSelector

#: Bytes that are read at a time during the handshake.
_FLIGHT = 16 * 1024

#: The most bytes that may be left over where a wire is moved: a peer that waits for an answer sends nothing, or an alert.
MOST_LEFT = 16 * 1024


class BatchedWire(BufferedWire):
    """
    A socket under TLS. Its user is not called until the handshake is done, and then :meth:`WireUser.wire_writable` once.

    A write that found no room must be repeated with the same bytes: their records are already sealed and counted. ``records`` lends buffers
    of ``protocol.records.BUFFER`` bytes.
    """

    plain = False

    def __init__(self, selector: WireSelector, sock: socket.socket, user: WireUser, handshake: Handshake | None, records: SlabPool) -> None:
        super().__init__(selector, sock, user)
        self._handshake = handshake
        self._flight = memoryview(b"")  # of the handshake, while there was no room for all of it
        self._records = records
        self._sealer: Sealer
        self._opener: Opener
        self._reader: RecordReader
        self._presented: Presented | None = None
        self._leaving: Slab | None = None  # records that are not sent completely
        self._left = memoryview(b"")  # the rest of them
        self._sealed = 0  # bytes of data in them

    @classmethod
    def of(cls, selector: WireSelector, sock: socket.socket, user: WireUser, state: LinkState, records: SlabPool) -> BatchedWire:
        """
        Go on where the wire of another process has stopped.

        :raise OSError: the bytes that it has left are no records.
        :raise TLSError: its suite is not known here.
        """
        wire = cls(selector, sock, user, None, records)
        presented = Presented(state.chain, state.protocol or None)
        wire._begin(Shaken(Sealer.of(state.sealing), Opener.of(state.unsealing), presented, state.rest))
        return wire

    @property
    def presented(self) -> Presented | None:
        """What the peer has presented in its handshake."""
        return self._presented

    @property
    def tls(self) -> ssl.SSLObject | None:
        """OpenSSL's end of the handshake, while it lasts: only to explain its failure."""
        return self._handshake.tls if self._handshake is not None else None

    @property
    def pending(self) -> bool:
        """Whether a whole record has arrived, or an alert that its user has not seen."""
        return self._handshake is None and (self._reader.whole or self._reader.alert is not None)

    # Reading.

    def read_into(self, buffer: memoryview) -> int | None:
        """
        See :meth:`Wire.read_into`; fills the buffer, which has room for at least ``protocol.records.ROOM`` bytes, from whole records.

        :raise OSError: the connection broke, or a record is not what the other end may send.
        """
        reader = self._reader
        if reader.alert is not None:
            return self._ended(reader.alert)
        try:
            if not reader.whole:
                try:
                    count = self._receive(reader.space())
                except BlockingIOError:
                    count = None
                reader.filled(count or 0)
                if not count:
                    return count
                self.partial += count
            filled = reader.take(buffer)
        except RecordError as wrong:
            raise self._refused(wrong) from wrong
        if reader.alert is not None and not filled:
            return self._ended(reader.alert)
        return filled or None

    def _ended(self, alert: str) -> int:
        """The other end has closed, or refuses us."""
        if alert == "CLOSE_NOTIFY":
            return 0
        error = ssl.SSLError(ssl.SSL_ERROR_SSL, f"the other end sent the TLS alert {alert.replace('_', ' ').lower()}")
        error.reason = f"TLS_ALERT_{alert}"
        raise error

    def _refused(self, wrong: RecordError) -> ConnectionAbortedError:
        """A record is not what the other end may send; it is told why."""
        self._tell(fatal(wrong.alert))
        return ConnectionAbortedError(str(wrong))

    # Writing.

    def write(self, data: memoryview) -> int:
        """See :meth:`Wire.write`."""
        if self._leaving is None:
            if self._opener.change_asked:
                self._opener.change_asked, self._sealer.change_due = False, True
            self._leaving = slab = self._records.take()
            self._sealed = min(len(data), MAX_BATCH)
            self._left = slab.view[: self._sealer.seal_data(data[: self._sealed], slab.view)]
        try:
            sent = self._send(self._left)
        except BlockingIOError:
            return 0
        if sent < len(self._left):
            self._left = self._left[sent:]
            return 0
        self._records.give(self._leaving)
        self._leaving = None
        return self._sealed

    def write_all(self, pieces: list[memoryview]) -> int:
        """See :meth:`Wire.write_all`; one piece at a time."""
        return self.write(pieces[0])

    def write_end(self) -> None:
        """See :meth:`Wire.write_end`."""
        self._tell(CLOSE_NOTIFY)
        super().write_end()

    def detach(self) -> socket.socket:
        """See :meth:`Wire.detach`; the other end is told, if there is room."""
        self._tell(CLOSE_NOTIFY)
        if self._leaving is not None:
            self._records.give(self._leaving)
            self._leaving = None
        if self._handshake is None:
            self._reader.clear()
            self._sealer.wipe()
            self._opener.wipe()
        return super().detach()

    def move(self) -> tuple[socket.socket, LinkState | None]:
        """See :meth:`Wire.move`; only between two writes, while the other end keeps to the dialogue."""
        presented = self._presented
        if presented is None or self._leaving is not None or self._reader.alert is not None:
            raise LinkLost("it broke off before it could be moved to another process")
        rest = self._reader.take_rest()
        if len(rest) > MOST_LEFT:
            raise LinkLost(f"it sent {len(rest)} bytes before the answer to its question")
        state = LinkState(self._sealer.take(), self._opener.take(), rest, presented.chain, presented.protocol or "")
        return super().detach(), state

    def _tell(self, alert: bytes) -> None:
        """Send an alert, unless part of another record is on its way."""
        if self._handshake is None and self._leaving is None:
            record = memoryview(bytearray(MAX_BODY))
            with contextlib.suppress(OSError):
                self._send(record[: self._sealer.seal(ALERT, alert, record)])

    # The handshake.

    def doRead(self) -> None:
        """There is data to read."""
        if self._handshake is not None:
            self._let(self._shake_on)
        else:
            super().doRead()

    def doWrite(self) -> None:
        """There is room to write."""
        if self._handshake is not None:
            self.want_room(False)
            self._let(self._shake)
        else:
            super().doWrite()

    def _shake_on(self) -> None:
        """More of the other end's part has arrived."""
        handshake, buffer = self._handshake, bytearray(_FLIGHT)
        assert handshake is not None
        try:
            count = self._receive(buffer)
        except BlockingIOError:
            return
        handshake.feed(memoryview(buffer)[:count])
        self._shake()

    def _shake(self) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            done = handshake.step()
        finally:
            self._fly(handshake.outgoing())
        if done and not self._flight:
            self._take_over(handshake)
            self.user.wire_writable()

    def _fly(self, more: bytes) -> None:
        """Send our part, or as much of it as there is room for."""
        self._flight = memoryview(bytes(self._flight) + more)
        if self._flight:
            with contextlib.suppress(BlockingIOError):
                self._flight = self._flight[self._send(self._flight) :]
        if self._flight:
            self.want_room()

    def _take_over(self, handshake: Handshake) -> None:
        shaken = handshake.result()
        self._handshake = None
        self._begin(shaken)

    def _begin(self, shaken: Shaken) -> None:
        self._sealer, self._opener, self._presented = shaken.sealer, shaken.opener, shaken.presented
        self._reader = RecordReader(shaken.opener, self._records)
        self._take_in(shaken.rest)

    def _take_in(self, rest: bytes) -> None:
        """Keep the bytes that have arrived with the end of the handshake; they fit, as they came with one read."""
        if rest:
            self._reader.space()[: len(rest)] = rest
            try:
                self._reader.filled(len(rest))
            except RecordError as wrong:
                raise self._refused(wrong) from wrong
