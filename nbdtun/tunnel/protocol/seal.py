"""
Seals: the encryption of a link, once the opening is over. Rules only: no socket, no clock.

TLS 1.3 has authenticated both ends, and its own keys stay secret. Over it, each end sends the other 32 random bytes. Two keys, one for each
direction of this link only, are derived from both. Records follow::

    length  u32, big-endian | ciphertext, ``length`` bytes | tag, 16 bytes

They are sealed by AES-128-GCM (RFC 5116). The length is authenticated too, and the nonce counts the records of a direction, so that no
record can be changed, dropped, repeated or moved. DTLS-SRTP (RFC 5764) and NTS (RFC 8915) also derive keys for their own protocols from a
TLS handshake.

Why not TLS's own records: they end at 16 KiB (RFC 8446, 5.1), and OpenSSL reads and writes each with separate system calls. A record of
256 KiB is sealed by one call from one buffer into another, and the ``cryptography`` package brings an OpenSSL whose AES is more than twice
as fast as that of Debian 12. ``docs/performance`` has the figures.
"""

from __future__ import annotations

import os
import struct

from attrs import frozen

from nbdtun.errors import ProtocolViolation

#: Random bytes that each end contributes to the keys.
CONTRIBUTION = 32

#: The most bytes of payload in a record: the whole frame of a slab.
MAX_RECORD = 256 * 1024

#: Bytes of a record that are not payload.
HEADER, TAG = 4, 16
OVERHEAD = HEADER + TAG

#: Bytes of a buffer for records: room for the largest, and for the beginning of the next.
BUFFER = MAX_RECORD + 4096

_KEY = 16
_INFO = b"nbdtun seal 1"
_length, _nonce = struct.Struct("!I"), struct.Struct("!4xQ").pack


def contribute() -> bytes:
    """Return this end's contribution. It is sent only to the other end, under TLS."""
    return os.urandom(CONTRIBUTION)


class Seal:
    """The records of one direction, in their order."""

    def __init__(self, key: bytes) -> None:
        from cryptography.exceptions import InvalidTag  # here, because it is slow to import, and not every end has TLS
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(key)
        self._encrypt, self._decrypt, self._invalid = cipher.encrypt_into, cipher.decrypt_into, InvalidTag
        self._count = 0

    def __repr__(self) -> str:
        return f"<Seal of {self._count} records>"

    def seal(self, payload: memoryview, record: memoryview) -> int:
        """Seal ``payload``, at most ``MAX_RECORD`` bytes, into ``record``; return how many bytes of that it takes."""
        size = len(payload)
        _length.pack_into(record, 0, size)
        self._encrypt(_nonce(self._count), payload, record[:HEADER], record[HEADER : size + OVERHEAD])
        self._count += 1
        return size + OVERHEAD

    def open(self, record: memoryview, payload: memoryview) -> int:
        """
        Decrypt ``record``, a whole one, into ``payload``, and return the count of bytes.

        :raise ProtocolViolation: it is not the next record that the other end sealed.
        """
        size = len(record) - OVERHEAD
        try:
            self._decrypt(_nonce(self._count), record[HEADER:], record[:HEADER], payload[:size])
        except self._invalid:
            raise ProtocolViolation("a record failed authentication: it was altered in transit") from None
        self._count += 1
        return size


def measure(view: memoryview, start: int, end: int) -> int | None:
    """
    Return the size of the whole record that begins at ``start``; None while too little of it has arrived, before ``end``.

    :raise ProtocolViolation: no record has this size.
    """
    if end - start < HEADER:
        return None
    size: int = _length.unpack_from(view, start)[0]
    if not 0 < size <= MAX_RECORD:
        raise ProtocolViolation(f"a record of {size} bytes is not between 1 and {MAX_RECORD}")
    return size + OVERHEAD


@frozen
class Seals:
    """The seals of both directions of one link."""

    outgoing: Seal
    incoming: Seal


def source_seals(ours: bytes, theirs: bytes) -> Seals:
    """The source's seals, from both ends' contributions."""
    forth, back = _keys(ours, theirs)
    return Seals(Seal(forth), Seal(back))


def destination_seals(ours: bytes, theirs: bytes) -> Seals:
    """The destination's seals, from both ends' contributions."""
    forth, back = _keys(theirs, ours)
    return Seals(Seal(back), Seal(forth))


def _keys(source: bytes, destination: bytes) -> tuple[bytes, bytes]:
    """The keys of the source's and of the destination's direction (HKDF, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    both = HKDF(SHA256(), 2 * _KEY, None, _INFO).derive(source + destination)
    return both[:_KEY], both[_KEY:]
