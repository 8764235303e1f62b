"""
libvirt's RPC messages (its src/rpc/virnetprotocol.x), of the pieces of a stream. Rules only: no socket, no clock.

A message starts with its length, which counts itself, and a header of six numbers; all are big-endian (RFC 4506)::

    length u32 | program u32 | version u32 | procedure i32 | type u32 | serial u32 | status u32

The body follows. A message is held in memory as a whole, so :data:`MAX` bounds what a peer can make this end keep.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from nbdtun.errors import ProtocolViolation

HEADER: Final = struct.Struct("!IIIiIII")

#: The most bytes of a message: VIR_NET_MESSAGE_MAX, which does not count the length itself.
MAX: Final = 32 * 1024 * 1024 + 4


class Kind(enum.IntEnum):
    """The type of a message."""

    CALL = 0
    REPLY = 1
    MESSAGE = 2  # an event, or a keepalive: nobody answers it by its serial number
    STREAM = 3
    CALL_WITH_FDS = 4
    REPLY_WITH_FDS = 5
    STREAM_HOLE = 6


class Status(enum.IntEnum):
    """The status of a message."""

    OK = 0
    ERROR = 1
    CONTINUE = 2


@frozen
class Message:
    """One whole message. ``kind`` and ``status`` are plain numbers of :class:`Kind` and :class:`Status`."""

    program: int
    version: int
    procedure: int
    kind: int
    serial: int = 0
    status: int = Status.OK
    body: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes, with the length before them."""
        size = HEADER.size + len(self.body)
        return HEADER.pack(size, self.program, self.version, self.procedure, self.kind, self.serial, self.status) + self.body


class Reader:
    """Makes whole messages, of at most ``most`` bytes, of the bytes of one direction, however they are cut into pieces."""

    def __init__(self, most: int = MAX) -> None:
        self._most = most
        self._kept = bytearray()  # the beginning of a message whose rest has not arrived

    def __repr__(self) -> str:
        return f"<Reader {len(self._kept)} bytes kept>"

    @property
    def amid(self) -> bool:
        """Whether a message has begun whose rest has not arrived."""
        return bool(self._kept)

    def feed(self, data: bytes) -> Iterator[Message]:
        """
        Take the next bytes, and yield the messages that they complete.

        :raise ProtocolViolation: they are not libvirt's messages, or one is too long. Nothing may be fed after that.
        """
        self._kept += data
        at = 0
        try:
            while len(self._kept) - at >= 4:
                size = self._size(at)
                if len(self._kept) - at < size:
                    break
                start, at = at, at + size
                yield self._message(start, size)
        finally:
            del self._kept[:at]

    def _size(self, at: int) -> int:
        """The length that begins there, once it is known to be possible."""
        size = int.from_bytes(self._kept[at : at + 4], "big")
        if not HEADER.size <= size <= self._most:
            raise ProtocolViolation(f"a message of libvirt's RPC of {size} bytes; {HEADER.size} to {self._most} are possible")
        return size

    def _message(self, at: int, size: int) -> Message:
        _, program, version, procedure, kind, serial, status = HEADER.unpack_from(self._kept, at)
        if kind > Kind.STREAM_HOLE or status > Status.CONTINUE:
            raise ProtocolViolation(f"a message of libvirt's RPC of unknown type {kind} or status {status}")
        body = bytes(memoryview(self._kept)[at + HEADER.size : at + size])
        return Message(program, version, procedure, kind, serial, status, body)
