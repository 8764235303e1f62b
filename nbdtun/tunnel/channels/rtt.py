"""
RoundTrip: how far the other end is, by the answers to PINGs, and how many bytes a line of that length holds.

A link asks a few times when it is new, since others may open at the same moment and each be in the other's way, and then whenever it has
nothing else to say. The shortest answer counts: all others have waited somewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from nbdtun.tunnel.protocol.frames import Kind, encode

#: Questions of a new link.
QUESTIONS = 3

#: Bytes under way that are worth it however near the other end is.
NEAR = 2 * 1024 * 1024

#: Bytes a second that a line is thought to carry at most: 10 Gbit/s.
RATE = 1_250_000_000

_MICRO = 1_000_000


class RoundTrip:
    """The distance of one link; ``seconds`` is the clock, and ``bdp`` (bytes) is what the line holds, None until that is known."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._questions = QUESTIONS
        self.bdp: int | None = None

    def __repr__(self) -> str:
        return f"<RoundTrip bdp={self.bdp}>"

    def ping(self) -> bytes:
        """A PING, whose token is the time."""
        return encode(Kind.PING, int(self._seconds() * _MICRO))

    def answered(self, token: int) -> bytes:
        """The answer came; return what to ask next, if anything."""
        bdp = max(NEAR, int((self._seconds() - token / _MICRO) * RATE))
        self.bdp = min(bdp, self.bdp or bdp)
        self._questions = max(0, self._questions - 1)
        return self.ping() if self._questions else b""
