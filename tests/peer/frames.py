"""Frames: what a link carries."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.peer.messages import Violation

HEADER = struct.Struct("!B3xIQ")
DATA, ACK, FIN, RESET, PING, PONG, BYE, ASK = range(1, 9)
MOST = 1 << 20

_LENGTHS = {DATA: (1, MOST), ACK: (0, 0), FIN: (0, 0), RESET: (0, 1024), PING: (0, 0), PONG: (0, 0), BYE: (0, 0), ASK: (1, MOST)}


def frame(kind: int, offset: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(payload), offset) + payload


def parse(header: bytes) -> tuple[int, int, int]:
    """Kind, length and offset of the frame that begins so."""
    kind, length, offset = HEADER.unpack(header)
    least, most = (0, 16384) if kind >= 128 else _LENGTHS.get(kind, (1, 0))
    if not least <= length <= most:
        raise Violation(f"a frame of kind {kind} and {length} bytes")
    return kind, length, offset


def reset(code: str, reason: str) -> bytes:
    """The frame that gives a channel up."""
    payload = f"{code} {reason}".encode()[:1024].decode(errors="ignore")
    return frame(RESET, 0, payload.encode())


def reason(payload: bytes) -> tuple[str, str]:
    """What such a frame says: code and reason."""
    code, _, why = payload.decode(errors="replace").partition(" ")
    return code or "reset", why


def read(exactly: Callable[[int], bytes]) -> tuple[int, int, bytes]:
    """The next frame of a link: kind, offset and payload."""
    kind, length, offset = parse(exactly(HEADER.size))
    return kind, offset, exactly(length)
