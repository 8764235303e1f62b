"""
The protection of records (RFC 8446, 5.2 to 5.5), one direction each: data is sealed in batches, and records are opened one by one.

Both ends hold to the limits of a key. The sender changes it long before, in band. The receiver refuses records beyond its own limit.
Records that bring no data (empty ones, tickets, key changes) are allowed only now and then: they cost the receiver work.
"""

from __future__ import annotations

import struct
from typing import Final

from nbdtun.tls.records.messages import ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, KEY_UPDATE, HandshakeMessages, RecordError
from nbdtun.tls.records.schedule import Traffic
from nbdtun.tls.records.state import Sealing, Unsealing
from nbdtun.tls.records.suites import CHANGE_AFTER, MAX_RECORDS, Suite, name_of, suite

#: Bytes of a record's header and tag, and the byte that says what its content is.
HEADER, TAG, KIND = 5, 16, 1
OVERHEAD = HEADER + TAG + KIND

#: The most data in a record, and the most records in a batch.
MAX_DATA = 1 << 14
BATCH = 16

#: The most data, and the most bytes, of a batch; a KeyUpdate may go ahead of it.
MAX_BATCH = BATCH * MAX_DATA
BATCH_SIZE = BATCH * (MAX_DATA + OVERHEAD) + OVERHEAD + len(KEY_UPDATE)

#: The most bytes that may follow the header: a peer may expand its data by 256 bytes, padding for example.
MAX_BODY = MAX_DATA + 256

#: Records without data in a row, and key changes: one for so many records, after the first few.
MAX_EMPTY = 32
FREE_CHANGES, RECORDS_PER_CHANGE = 16, 1024

_header = struct.Struct("!BHH")
_VERSION = 0x0303
_FULL_BODY: Final = MAX_DATA + KIND + TAG
_FULL: Final = _header.pack(DATA, _VERSION, _FULL_BODY)
_FULL_SIZE: Final = HEADER + _FULL_BODY


class Sealer:
    """Makes the records of one direction, under the keys of ``secret``."""

    def __init__(self, suite: Suite, secret: bytes | bytearray) -> None:
        self._traffic = Traffic(suite, secret)
        self._count = 0
        #: Whether the key changes before the next data, because the other end asked for that.
        self.change_due = False

    def __repr__(self) -> str:
        return f"<Sealer of {self._count} records>"

    def seal_data(self, data: memoryview, out: memoryview) -> int:
        """Seal ``data``, at most :data:`MAX_BATCH` bytes, into ``out``; returns how many of its bytes that takes."""
        end = 0
        if self.change_due or self._count >= CHANGE_AFTER:
            end = self.seal(HANDSHAKE, KEY_UPDATE, out)
            self._change()
        encrypt, nonce, count, size = self._traffic.cipher.encrypt_into, self._traffic.nonce, self._count, len(data)
        for start in range(0, size - MAX_DATA + 1, MAX_DATA):
            out[end : end + HEADER] = _FULL
            body = out[end + HEADER : end + MAX_DATA + OVERHEAD]
            body[:MAX_DATA] = data[start : start + MAX_DATA]
            body[MAX_DATA] = DATA
            encrypt((nonce ^ count).to_bytes(12), body[: MAX_DATA + KIND], _FULL, body)
            count += 1
            end += MAX_DATA + OVERHEAD
        self._count = count
        if rest := size % MAX_DATA:
            end += self.seal(DATA, data[size - rest :], out[end:])
        return end

    def seal(self, kind: int, payload: bytes | memoryview, out: memoryview) -> int:
        """Seal one record with ``payload`` into ``out``; returns how many of its bytes that takes."""
        size = len(payload)
        header = _header.pack(DATA, _VERSION, size + KIND + TAG)
        out[:HEADER] = header
        body = out[HEADER : size + OVERHEAD]
        body[:size] = payload
        body[size] = kind
        traffic = self._traffic
        traffic.cipher.encrypt_into((traffic.nonce ^ self._count).to_bytes(12), body[: size + KIND], header, body)
        self._count += 1
        return size + OVERHEAD

    def take(self) -> Sealing:
        """Give it away: return its state, with which another goes on. This one seals nothing more."""
        return Sealing(name_of(self._traffic.suite), self._traffic.take(), self._count, self.change_due)

    @classmethod
    def of(cls, state: Sealing) -> Sealer:
        """
        Go on where another has stopped.

        :raise TLSError: the suite is not known here.
        """
        made = cls(suite(state.suite), state.secret)
        made._count, made.change_due = state.count, state.change_due
        return made

    def wipe(self) -> None:
        """Forget the secret; nothing can be sealed under a later key."""
        self._traffic.wipe()

    def _change(self) -> None:
        self._traffic.change()
        self._count = 0
        self.change_due = False


class Opener:
    """Opens the records of one direction, under the keys of ``secret``."""

    def __init__(self, suite: Suite, secret: bytes | bytearray) -> None:
        from cryptography.exceptions import InvalidTag  # here, because it is slow to import, and not every end has TLS

        self._invalid = InvalidTag
        self._traffic = Traffic(suite, secret)
        self._messages = HandshakeMessages()
        self._count = 0
        self._changes = 0
        self._records = 0  # under earlier keys
        self._empty = 0
        #: Whether the peer has asked for a change of our key.
        self.change_asked = False

    def __repr__(self) -> str:
        return f"<Opener of {self._count} records>"

    def open(self, record: memoryview, out: memoryview) -> tuple[int, int]:
        """
        Open ``record``, a whole one, into ``out``, which has room for its body without the tag.

        Returns the kind of its content, DATA or ALERT, and its size. Handshake messages are dealt with here: they count as no data.

        :raise RecordError: it is not the next record that the peer sealed, or what it contains is not allowed now.
        """
        size = len(record) - HEADER - TAG
        traffic = self._traffic
        if self._count >= MAX_RECORDS:
            raise RecordError("its key has protected too many records", "UNEXPECTED_MESSAGE")
        try:
            traffic.cipher.decrypt_into((traffic.nonce ^ self._count).to_bytes(12), record[HEADER:], record[:HEADER], out[:size])
        except self._invalid:
            raise _altered() from None
        self._count += 1
        size -= 1
        kind = out[size]
        if kind == DATA and self._messages.complete and 0 < size <= MAX_DATA:
            self._empty = 0
            return DATA, size
        if not kind:
            kind, size = _unpad(out[:size])
        return self._other(kind, out[:size])

    def open_full(self, view: memoryview, start: int, end: int, out: memoryview) -> tuple[int, int]:
        """
        Open the records full of data that lie in ``view`` from ``start`` on, as long as ``out`` has room for another with its kind.

        Returns where the next record begins, and how many bytes of data were opened. Bulk data is nothing but such records, so they have
        this short way. Everything else stops it, and is for :meth:`open`.

        :raise RecordError: a record is not the next one that the peer sealed.
        """
        if not self._messages.complete:
            return start, 0
        unpack, decrypt, nonce, count = _header.unpack_from, self._traffic.cipher.decrypt_into, self._traffic.nonce, self._count
        last = min(end, len(view)) - _FULL_SIZE
        filled, room = 0, len(out) - MAX_DATA - KIND
        try:
            while start <= last and filled <= room and count < MAX_RECORDS and unpack(view, start) == (DATA, _VERSION, _FULL_BODY):
                following, kind_at = start + _FULL_SIZE, filled + MAX_DATA
                decrypt((nonce ^ count).to_bytes(12), view[start + HEADER : following], _FULL, out[filled : kind_at + KIND])
                if out[kind_at] != DATA:
                    break
                start, filled, count = following, kind_at, count + 1
        except self._invalid:
            raise _altered() from None
        if filled:
            self._count, self._empty = count, 0
        return start, filled

    def take(self) -> Unsealing:
        """Give it away: return its state, with which another goes on. This one opens nothing more."""
        traffic = self._traffic
        counted = (self._count, self._changes, self._records, self._empty)
        return Unsealing(name_of(traffic.suite), traffic.take(), *counted, self.change_asked, *self._messages.begun)

    @classmethod
    def of(cls, state: Unsealing) -> Opener:
        """
        Go on where another has stopped.

        :raise TLSError: the suite is not known here.
        """
        made = cls(suite(state.suite), state.secret)
        made._count, made._changes, made._records, made._empty = state.count, state.changes, state.records, state.empty
        made.change_asked, made._messages = state.change_asked, HandshakeMessages(state.begun, state.skipped)
        return made

    def wipe(self) -> None:
        """Forget the secret."""
        self._traffic.wipe()

    def _other(self, kind: int, content: memoryview) -> tuple[int, int]:
        """Anything but a plain record with data."""
        if len(content) > MAX_DATA:
            raise RecordError(f"a TLS record with {len(content)} bytes", "RECORD_OVERFLOW")
        if kind not in (DATA, ALERT, HANDSHAKE) or (kind != HANDSHAKE and not self._messages.complete):
            raise RecordError(f"a TLS record of type {kind} at the wrong time", "UNEXPECTED_MESSAGE")
        if kind == DATA and content:
            self._empty = 0
            return DATA, len(content)
        self._empty += 1
        if self._empty > MAX_EMPTY:
            raise RecordError(f"{self._empty} TLS records in a row without data", "UNEXPECTED_MESSAGE")
        if kind == HANDSHAKE:
            changes, asks = self._messages.read(content)
            if changes:
                self._change(asks)
            return DATA, 0
        return kind, len(content)

    def _change(self, asks: bool) -> None:
        self._changes += 1
        self._records += self._count
        self._count = 0
        if self._changes > FREE_CHANGES + self._records // RECORDS_PER_CHANGE:
            raise RecordError(f"{self._changes} key changes within {self._records} records", "UNEXPECTED_MESSAGE")
        self._traffic.change()
        self.change_asked = self.change_asked or asks


def _altered() -> RecordError:
    return RecordError("a TLS record failed authentication: it was altered in transit", "BAD_RECORD_MAC")


def _unpad(content: memoryview) -> tuple[int, int]:
    """The kind and size of the content before its padding, which is zeros."""
    stripped = bytes(content).rstrip(b"\0")
    if not stripped:
        raise RecordError("a TLS record of padding alone", "UNEXPECTED_MESSAGE")
    return stripped[-1], len(stripped) - 1


def measure(view: memoryview, start: int, end: int) -> int | None:
    """
    The size of the whole record that begins at ``start``; None while too little of it has arrived, before ``end``.

    :raise RecordError: no record of TLS 1.3 begins like this.
    """
    if end - start < HEADER:
        return None
    kind, version, size = _header.unpack_from(view, start)
    if kind != DATA or version != _VERSION:
        what = "an unprotected TLS record" if kind in (CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE) else "no TLS record"
        raise RecordError(f"{what} after the handshake", "UNEXPECTED_MESSAGE")
    if not TAG < size <= MAX_BODY:
        raise RecordError(f"a TLS record of {size} bytes", "RECORD_OVERFLOW")
    return HEADER + int(size)
