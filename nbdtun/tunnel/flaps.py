"""Flaps: links in a row that were lost soon, and before they carried anything. Rules only: no clock."""

from __future__ import annotations

#: Seconds after which a link has been good for something, even if it was idle.
BRIEF = 10.0


class Flaps:
    """Counts them for one channel; ``now`` is in seconds, ``carried`` the bytes of both directions so far."""

    def __init__(self) -> None:
        self.count = 0
        self._linked: tuple[float, int] | None = None

    def __repr__(self) -> str:
        return f"<Flaps {self.count}>"

    def linked(self, now: float, carried: int) -> None:
        """There is a link."""
        self._linked = now, carried

    def lost(self, now: float, carried: int) -> None:
        """There is none any more; that there never was one counts as one that is still to come."""
        if self._linked is not None:
            since, before = self._linked
            self.count = self.count + 1 if now - since < BRIEF and carried == before else 0
