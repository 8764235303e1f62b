"""
Tombstones: the answers to a source that asks for a channel which is over.

A source that missed the last message of a channel asks again, and gets it again, for as long as it may ask: the resume window. Only the
source that opened the channel gets the answer.
"""

from __future__ import annotations

from collections.abc import Callable

from nbdtun.errors import LinkLost, ResumeRefused, TunnelError
from nbdtun.tunnel.destination.fair_table import FairTable

#: The most ended channels that are remembered.
MAX_REMEMBERED = 4096


class Tombstones:
    """Remembers ended channels for ``seconds``, by the clock ``now``."""

    def __init__(self, now: Callable[[], float], seconds: float) -> None:
        self._now = now
        self._seconds = seconds
        self._ended: FairTable[bytes, tuple[float, TunnelError]] = FairTable(MAX_REMEMBERED)

    def __len__(self) -> int:
        self._forget()
        return len(self._ended)

    def __contains__(self, ident: bytes) -> bool:
        self._forget()
        return ident in self._ended

    def remember(self, ident: bytes, identity: str, ending: TunnelError) -> None:
        """The channel ``ident`` of ``identity`` is over."""
        # A source retries after a LinkLost; but this channel will never have another link.
        final = ResumeRefused(str(ending)) if isinstance(ending, LinkLost) else ending
        self._forget()
        self._ended.add(identity, ident, (self._now() + self._seconds, final))

    def find(self, ident: bytes, identity: str) -> TunnelError | None:
        """Return how the channel ended, if it belonged to ``identity``, as an error of the caller's own."""
        self._forget()
        entry = self._ended.find(ident)
        return entry[1][1].again() if entry is not None and entry[0] == identity else None

    def _forget(self) -> None:
        now = self._now()
        while (oldest := self._ended.oldest()) is not None and oldest[1][0] <= now:
            self._ended.pop(oldest[0])
