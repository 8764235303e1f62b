"""How a target divides the bytes that it is given."""

from __future__ import annotations

from collections.abc import Iterator


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut where the data itself says: a piece is as long as its first byte, or all there is."""
    while data:
        count = data[0] or len(data)
        yield data[:count]
        data = data[count:]
