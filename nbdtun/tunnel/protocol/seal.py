"""
Seals: how a link's bytes are encrypted once it has become one. Rules only: no socket, no clock.

TLS 1.3 has authenticated both ends and keeps its own secrets; over it each end sends the other 32 random bytes, and from both of them come
two keys, one for each direction, that serve for this link alone. What follows are records::

    length  u32, big-endian | ciphertext, ``length`` bytes | tag, 16 bytes

sealed by AES-128-GCM (RFC 5116): the length is authenticated with it, and the nonce counts the records of a direction, so that none can be
changed, left out, repeated or moved. Deriving keys for a protocol of one's own from a TLS handshake is what DTLS-SRTP (RFC 5764) and
NTS (RFC 8915) do.

Why not TLS's own records: they end at 16 KiB (RFC 8446, 5.1), and OpenSSL reads and writes each with system calls of its own. A record of
256 KiB is sealed by one call from one buffer into another, and the ``cryptography`` package brings an OpenSSL that does AES more than twice
as fast as the one that Debian 12 has. See ``docs/performance`` for what both save.
"""

from __future__ import annotations

import os
import struct

from attrs import frozen

from nbdtun.errors import ProtocolViolation

#: Random bytes that each end contributes to the keys.
CONTRIBUTION = 32

#: Bytes of payload that a record has at most: a slab's frame as a whole.
MAX_RECORD = 256 * 1024

#: Bytes of a record that are not payload.
HEADER, TAG = 4, 16
OVERHEAD = HEADER + TAG

#: Bytes of a buffer for records: the largest, and the beginning of what comes behind it.
BUFFER = MAX_RECORD + 4096

_KEY = 16
_INFO = b"nbdtun seal 1"
_length, _nonce = struct.Struct("!I"), struct.Struct("!4xQ").pack


def contribute() -> bytes:
    """What this end contributes; it is told to the other under TLS, and to nobody else."""
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
        Put what is in ``record``, a whole one, into ``payload``, and return how many bytes that is.

        :raise ProtocolViolation: it is not what the other end has sent, or not what is next.
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
    Return the bytes of the record that begins at ``start``, all together; None while too little of it is there, before ``end``.

    :raise ProtocolViolation: there are no such records.
    """
    if end - start < HEADER:
        return None
    size: int = _length.unpack_from(view, start)[0]
    if not 0 < size <= MAX_RECORD:
        raise ProtocolViolation(f"a record of {size} bytes is not between 1 and {MAX_RECORD}")
    return size + OVERHEAD


@frozen
class Seals:
    """Those of both directions of one link."""

    outgoing: Seal
    incoming: Seal


def source_seals(ours: bytes, theirs: bytes) -> Seals:
    """The source's, of what both ends have contributed."""
    forth, back = _keys(ours, theirs)
    return Seals(Seal(forth), Seal(back))


def destination_seals(ours: bytes, theirs: bytes) -> Seals:
    """The destination's, of what both ends have contributed."""
    forth, back = _keys(theirs, ours)
    return Seals(Seal(back), Seal(forth))


def _keys(source: bytes, destination: bytes) -> tuple[bytes, bytes]:
    """The keys for what the source sends, and for what the destination sends (HKDF, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    both = HKDF(SHA256(), 2 * _KEY, None, _INFO).derive(source + destination)
    return both[:_KEY], both[_KEY:]
