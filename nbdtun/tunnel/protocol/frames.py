"""
Frames: the units that an open link carries. Rules only: no socket, no clock.

Every frame starts with one header of 16 bytes, big-endian::

    kind  u8 | zero  3 bytes | length  u32 | offset  u64

``length`` bytes of payload follow. The meaning of ``offset`` depends on the kind. Offsets count the bytes of one direction of a channel
from its start, so each frame says where it belongs, on whichever link it arrives.

A payload is passed on as it arrives, in pieces, as views of the reader's buffer: a frame is never held in memory as a whole.
"""

from __future__ import annotations

import enum
import struct
from typing import Protocol

from nbdtun.errors import ProtocolViolation

HEADER = struct.Struct("!B3xIQ")

#: The most bytes of payload in a DATA frame.
MAX_DATA = 1024 * 1024

#: The most bytes of payload in a RESET frame.
MAX_REASON = 1024

#: Kinds of frames from here on are for extensions: an end that does not know one passes over it.
EXTENSIONS = 128
#: The most bytes of payload in such a frame.
MAX_EXTENSION = 16 * 1024


class Kind(enum.IntEnum):
    """The kind of a frame."""

    DATA = 1  # payload: bytes of the stream; offset: that of the first one
    ACK = 2  # offset: everything before it is in the reader's kernel; one more than the end acknowledges a FIN
    FIN = 3  # offset: the stream's final length; nothing follows in this direction
    RESET = 4  # payload: "code reason" in UTF-8; the channel is over
    PING = 5  # offset: any token
    PONG = 6  # offset: the token of the PING
    BYE = 7  # only the destination sends it: both directions are done, and it knows that the source knows
    DATA_ASK = 8  # as DATA; to be acknowledged as soon as it is in the reader's kernel, since the sender has little room left


class FrameReceiver(Protocol):
    """Receives the frames of a link."""

    def data_received(self, offset: int, piece: memoryview) -> None:
        """``piece`` belongs at ``offset``; it is only valid until :meth:`Decoder.feed` returns."""

    def ack_asked(self, offset: int) -> None:
        """The other end asks for an acknowledgement once everything before ``offset`` is in this end's kernel; the data follows."""

    def ack_received(self, offset: int) -> None:
        """Everything before ``offset`` is in the other end's kernel."""

    def fin_received(self, offset: int) -> None:
        """The other end's stream is ``offset`` bytes long."""

    def reset_received(self, code: str, reason: str) -> None:
        """The other end has given the channel up."""

    def bye_received(self) -> None:
        """Both directions are done at both ends."""

    def ping_received(self, token: int) -> None:
        """Answer with a PONG of the same token."""

    def pong_received(self, token: int) -> None:
        """The other end is alive."""


def encode(kind: Kind, offset: int, payload: bytes = b"") -> bytes:
    """Return a whole frame. For DATA, see :meth:`nbdtun.tunnel.protocol.outbound.Outbound.next_frame`, which copies nothing."""
    return HEADER.pack(kind, len(payload), offset) + payload


def encode_reset(code: str, reason: str) -> bytes:
    """Return a RESET frame that has an error's stable code and as much of its text as fits."""
    payload = f"{code} {reason}".encode()[:MAX_REASON].decode(errors="ignore").encode()  # no letter is cut in the middle
    return encode(Kind.RESET, 0, payload)


# As plain integers: each use of an enumeration's member costs a lookup, and these are used for every frame.
_HEADER, _unpack_from = HEADER.size, HEADER.unpack_from
_DATA, _ACK, _FIN, _RESET, _PING, _PONG, _BYE, _DATA_ASK = (int(kind) for kind in Kind)

#: The most bytes of payload by kind of frame; kinds not listed may have none.
_LIMITS = {_DATA: MAX_DATA, _RESET: MAX_REASON}


class Decoder:
    """Turns the bytes of one link into calls of a :class:`FrameReceiver`, however they are cut into pieces."""

    def __init__(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver
        self._header = bytearray()  # the beginning of a header whose rest has not arrived: less than 16 bytes
        self._reason = bytearray()  # the beginning of a RESET's payload: at most MAX_REASON bytes
        self._kind = _DATA
        self.offset = 0  # where the rest of the current payload belongs
        self.missing = 0  # bytes of the current payload that have not arrived; if more than MAX_EXTENSION, it is DATA
        self.over = False  # set by the user to ignore all further frames, even those in the present piece

    def feed(self, data: memoryview) -> None:
        """
        Take the next bytes of the link.

        :raise ProtocolViolation: they are not frames.
        """
        at, end = 0, len(data)
        while at < end and not self.over:
            if self.missing:
                at += self._payload(data[at : at + self.missing])
            elif self._header or end - at < _HEADER:
                at += self._gather(data[at : at + _HEADER - len(self._header)])
            else:
                kind, length, offset = _unpack_from(data, at)
                start = at + _HEADER
                if kind == _DATA and 0 < length <= MAX_DATA and length <= end - start:  # complete, as most are
                    at = start + length
                    self._receiver.data_received(offset, data[start:at])
                else:
                    self._begin(kind, length, offset)
                    at = start

    def pass_over(self, count: int) -> None:
        """The next ``count`` bytes, part of a DATA frame, went another way."""
        self.offset += count
        self.missing -= count

    def _gather(self, piece: memoryview) -> int:
        self._header += piece
        if len(self._header) == _HEADER:
            whole, self._header = self._header, bytearray()
            self._begin(*_unpack_from(whole))
        return len(piece)

    def _begin(self, kind: int, length: int, offset: int) -> None:
        if kind == _DATA_ASK and length:
            self._receiver.ack_asked(offset + length)
            kind = _DATA
        if length:
            limit = MAX_EXTENSION if kind >= EXTENSIONS else _LIMITS.get(kind, 0)
            if length > limit:
                raise ProtocolViolation(f"a frame of kind {kind} with {length} bytes; at most {limit} are allowed")
            self._kind, self.offset, self.missing = kind, offset, length
        else:
            self._bare(kind, offset)

    def _bare(self, kind: int, offset: int) -> None:
        receiver = self._receiver
        if kind == _ACK:
            receiver.ack_received(offset)
        elif kind == _PING:
            receiver.ping_received(offset)
        elif kind == _PONG:
            receiver.pong_received(offset)
        elif kind == _FIN:
            receiver.fin_received(offset)
        elif kind == _BYE:
            receiver.bye_received()
        elif kind == _RESET:
            receiver.reset_received("reset", "")
        elif kind < EXTENSIONS:
            raise ProtocolViolation(f"a frame of unknown kind {kind}, or a DATA frame without data")

    def _payload(self, piece: memoryview) -> int:
        size = len(piece)
        self.missing -= size
        if self._kind == _DATA:
            offset = self.offset
            self.offset = offset + size
            self._receiver.data_received(offset, piece)
            return size
        if self._kind != _RESET:
            return size
        self._reason += piece
        if not self.missing:
            code, _, reason = self._reason.decode("utf-8", "replace").partition(" ")
            self._reason.clear()
            self._receiver.reset_received(code, reason)
        return size
