"""
Tombstones: what to answer to a source that asks for a channel which is over.

A source that has missed the last word of a channel asks again, and gets it again, for as long as it may ask: the resume window. Only
the source whose channel it was is told.
"""

from __future__ import annotations

from collections.abc import Callable

from nbdtun.errors import LinkLost, ResumeRefused, TunnelError
from nbdtun.tunnel.destination.fair_table import FairTable

#: Ended channels that are remembered at most.
MAX_REMEMBERED = 4096


class Tombstones:
    """Remembers for ``seconds`` by the clock ``now``."""

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
        # A source that hears of a lost link tries again; of this one there will never be another.
        final = ResumeRefused(str(ending)) if isinstance(ending, LinkLost) else ending
        self._forget()
        self._ended.add(identity, ident, (self._now() + self._seconds, final))

    def find(self, ident: bytes, identity: str) -> TunnelError | None:
        """How it ended, if it was a channel of ``identity``."""
        self._forget()
        entry = self._ended.find(ident)
        return entry[1][1] if entry is not None and entry[0] == identity else None

    def _forget(self) -> None:
        now = self._now()
        while (oldest := self._ended.oldest()) is not None and oldest[1][0] <= now:
            self._ended.pop(oldest[0])
