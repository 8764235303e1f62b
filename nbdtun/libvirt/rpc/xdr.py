"""
XDR (RFC 4506), as far as libvirt's calls and errors need it. Rules only: no socket, no clock.

A string with a zero byte in it is refused: libvirt, which is written in C, would read only what is before it.
"""

from __future__ import annotations

import struct
from typing import Final

from nbdtun.errors import ProtocolViolation

#: The most bytes of a string: REMOTE_STRING_MAX, which is VIR_NET_MESSAGE_STRING_MAX.
MAX_STRING: Final = 4 * 1024 * 1024


class Unpacker:
    """
    Takes values off the front of ``data``.

    :raise ProtocolViolation: (each method) they are not there, or are not what XDR allows.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def __repr__(self) -> str:
        return f"<Unpacker at {self._at} of {len(self._data)}>"

    def uint(self) -> int:
        """Take an unsigned number of 32 bits."""
        return int.from_bytes(self._take(4), "big")

    def sint(self) -> int:
        """Take a signed number of 32 bits."""
        return int.from_bytes(self._take(4), "big", signed=True)

    def hyper(self) -> int:
        """Take a signed number of 64 bits."""
        return int.from_bytes(self._take(8), "big", signed=True)

    def uhyper(self) -> int:
        """Take an unsigned number of 64 bits."""
        return int.from_bytes(self._take(8), "big")

    def double(self) -> float:
        """Take a number of double precision."""
        (value,) = struct.unpack("!d", self._take(8))
        return float(value)

    def opaque(self, most: int) -> bytes:
        """Take up to ``most`` bytes whose number is before them."""
        size = self.uint()
        if size > most:
            raise ProtocolViolation(f"{size} bytes in a libvirt call, where at most {most} are possible")
        value = bytes(self._take(size))
        if any(self._take(-size % 4)):
            raise ProtocolViolation("padding in a libvirt call that is not zero")
        return value

    def string(self, most: int = MAX_STRING) -> str:
        """Take a text of up to ``most`` bytes."""
        try:
            text = self.opaque(most).decode()
        except UnicodeDecodeError:
            raise ProtocolViolation("a text in a libvirt call that is not UTF-8") from None
        if "\0" in text:
            raise ProtocolViolation("a text in a libvirt call with a zero byte in it")
        return text

    def optional_string(self) -> str | None:
        """Take a text that may be missing."""
        present = self.uint()
        if present > 1:
            raise ProtocolViolation("a truth value in a libvirt call that is neither 0 nor 1")
        return self.string() if present else None

    def end(self) -> None:
        """There must be nothing left."""
        if self._at != len(self._data):
            raise ProtocolViolation(f"{len(self._data) - self._at} bytes too many in a libvirt call")

    def _take(self, size: int) -> memoryview:
        piece = self._data[self._at : self._at + size]
        if len(piece) < size:
            raise ProtocolViolation("a libvirt call that ends too early")
        self._at += size
        return piece


def uint(value: int) -> bytes:
    """Return an unsigned number of 32 bits."""
    return value.to_bytes(4, "big")


def opaque(value: bytes) -> bytes:
    """Return bytes with their number before them, padded."""
    return uint(len(value)) + value + bytes(-len(value) % 4)


def string(value: str) -> bytes:
    """Return a text."""
    return opaque(value.encode())


def optional_string(value: str | None) -> bytes:
    """Return a text that may be missing."""
    return uint(0) if value is None else uint(1) + string(value)
