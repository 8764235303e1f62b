"""
A tally of migrations that have ended: how, in which phase, after how long, and how long their guests stood still.

It does not grow with their number. Names of phases and outcomes are those of :class:`~nbdtun.migration.progress.Phase`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

#: Upper bounds in seconds: of migrations, from one without disks to one of a day; and of pauses, from one within a rack to a minute.
DURATIONS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0)
DOWNTIMES: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class Spread:
    """How many values were at most each of ``bounds``; the last count is that of larger ones. ``sum`` is that of all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Spread of {sum(self.counts)} values>"

    def __add__(self, other: Spread) -> Spread:
        """Both together, which have the same bounds."""
        both = Spread(self.bounds)
        both.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        both.sum = self.sum + other.sum
        return both

    def note(self, value: float) -> None:
        """There is one more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Tally:
    """Counts migrations by their outcomes and the phases in which they ended; ``durations`` and ``downtimes`` are in seconds."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        self.durations, self.downtimes = Spread(DURATIONS), Spread(DOWNTIMES)

    def __repr__(self) -> str:
        return f"<Tally of {self.ended.total()} migrations>"

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        both = Tally()
        both.ended = self.ended + other.ended
        both.durations, both.downtimes = self.durations + other.durations, self.downtimes + other.downtimes
        return both

    def end(self, outcome: str, phase: str, seconds: float) -> None:
        """A migration has ended in ``phase``, after so many seconds."""
        self.ended[outcome, phase] += 1
        self.durations.note(seconds)
