"""
RoundTrip: the round trip to the other end, measured with PINGs, and the bytes that a line of that length holds.

A new link sends a few PINGs, since other links may open at the same moment and delay each other. Later it sends one whenever it has nothing
else to send. The shortest round trip counts: all others have waited somewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from nbdtun.tunnel.protocol.frames import Kind, encode

#: PINGs of a new link.
QUESTIONS = 3

#: Bytes in flight that always pay, however near the other end is.
NEAR = 2 * 1024 * 1024

#: Seconds from which TCP's own buffers may hold less than the line.
FAR = 0.002

#: The assumed rate of a line, in bytes per second: 10 Gbit/s.
RATE = 1_250_000_000

_MICRO = 1_000_000


class RoundTrip:
    """The round trip of one link; ``seconds`` is the clock, ``bdp`` the bytes that the line holds, None until known."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._questions = QUESTIONS
        self.bdp: int | None = None

    def __repr__(self) -> str:
        return f"<RoundTrip bdp={self.bdp}>"

    @property
    def shortest(self) -> float:
        """The shortest round trip so far, in seconds; 0.0 before the first."""
        return (self.bdp or 0) / RATE

    @property
    def far(self) -> bool:
        """Whether the other end is so far away that the line may hold more than the usual buffers."""
        return self.shortest >= FAR

    def ping(self) -> bytes:
        """Return a PING, with the time as its token."""
        return encode(Kind.PING, int(self._seconds() * _MICRO))

    def answered(self, token: int) -> bytes:
        """The PONG arrived; return the next PING, if another is needed."""
        bdp = max(NEAR, int((self._seconds() - token / _MICRO) * RATE))
        self.bdp = min(bdp, self.bdp or bdp)
        self._questions = max(0, self._questions - 1)
        return self.ping() if self._questions else b""
