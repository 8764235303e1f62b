"""
Tombstones: the answers to a source that asks for a channel which is over.

A source that missed the last message of a channel asks again, and gets it again, for as long as it may ask: the resume window. Only the
source that opened the channel gets the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from nbdtun.errors import LinkLost, ResumeRefused, TunnelError
from nbdtun.tunnel.destination.fair_table import FairTable

#: The most ended channels that are remembered.
MAX_REMEMBERED = 4096


class Tombstones:
    """Remembers ended channels for ``seconds``, by the clock ``now``."""

    def __init__(self, now: Callable[[], float], seconds: float) -> None:
        self._now = now
        self._seconds = seconds
        self._ended: FairTable[bytes, tuple[float, TunnelError, bytes]] = FairTable(MAX_REMEMBERED)

    def __len__(self) -> int:
        self._forget()
        return len(self._ended)

    def __contains__(self, ident: bytes) -> bool:
        self._forget()
        return ident in self._ended

    def remember(self, ident: bytes, identity: str, secret: bytes, ending: TunnelError) -> None:
        """The channel ``ident`` of ``identity``, with its ``secret``, is over."""
        # A source retries after a LinkLost; but this channel will never have another link.
        final = ResumeRefused(str(ending)) if isinstance(ending, LinkLost) else ending
        self._forget()
        self._ended.add(identity, ident, (self._now() + self._seconds, final, secret))

    def find(self, ident: bytes, owns: Callable[[str], bool], secret: bytes) -> TunnelError | None:
        """Return how the channel ended, as an error of the caller's own, who ``owns`` its identity and knows its secret; else None."""
        self._forget()
        entry = self._ended.find(ident)
        if entry is None or not owns(entry[0]) or not compare_digest(entry[1][2], secret):
            return None
        return entry[1][1].again()

    def _forget(self) -> None:
        now = self._now()
        while (oldest := self._ended.oldest()) is not None and oldest[1][0] <= now:
            self._ended.pop(oldest[0])
