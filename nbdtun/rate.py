"""How fast a count grows, measured the same way for a migration's report and for each row of a display."""

from __future__ import annotations

import math

from nbdtun.units import rate_text

#: Seconds over which a rate is smoothed; a rate that jumps each second cannot be read.
SMOOTHING_SECONDS = 5.0


class Rate:
    """Units per second of a count that only grows, exponentially smoothed; ``value`` is None until it is known."""

    def __init__(self) -> None:
        self.value: float | None = None
        self._last: tuple[float, int] | None = None

    def __repr__(self) -> str:
        return f"<Rate {'unknown' if self.value is None else rate_text(self.value)}>"

    def sample(self, seconds: float, count: int) -> float | None:
        """Record that the count is ``count`` at the time ``seconds``; returns the smoothed rate."""
        if self._last is None:
            self._last = (seconds, count)
        elif seconds > self._last[0]:
            passed, grown = seconds - self._last[0], max(0, count - self._last[1])
            before = self.value or 0.0
            weight = -math.expm1(-passed / SMOOTHING_SECONDS) if before else 1.0  # after a standstill, the new rate shows at once
            self.value = before + weight * (grown / passed - before)
            self._last = (seconds, count)
        return self.value
