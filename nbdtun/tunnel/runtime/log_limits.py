"""
Log limits: peers cause lines in the log, and must not fill the disk with them.

An admitted peer can open and break channels without end, and a stranger that reaches the port can be refused without end. So each gets a
limited number of lines in a period. The others are counted, and the count is one line. RefusalLog also counts by address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from nbdtun.errors import TunnelError
from nbdtun.logs import make_logger

#: Seconds of one period, and the most lines about channels in it.
PERIOD, LINES = 60.0, 200

#: The most lines about refusals in one period: of one address, and in all.
REFUSALS_EACH, REFUSALS = 5, 50


class LineLimit:
    """Counts the lines of one end of a tunnel; ``call_later`` calls back at the end of a period."""

    log = make_logger()

    def __init__(self, call_later: Callable[..., object]) -> None:
        self._call_later = call_later
        self._wanted = 0

    def __repr__(self) -> str:
        return f"<LineLimit {self._wanted}>"

    def allows(self) -> bool:
        """Whether one more line may be written. If not, it is counted, and the count is logged at the end of the period."""
        if not self._wanted:
            self._call_later(PERIOD, self._account)
        self._wanted += 1
        return self._wanted <= LINES

    def _account(self) -> None:
        untold, self._wanted = self._wanted - LINES, 0
        if untold > 0:
            self.log.warn("{count} more lines about channels suppressed in {seconds:.0f} s", count=untold, seconds=PERIOD)


class RefusalLog:
    """Writes to ``log``; ``call_later`` calls back at the end of a period. ``codes`` counts all refusals, by their errors' codes."""

    def __init__(self, log: Any, call_later: Callable[..., object]) -> None:
        self._log = log
        self._call_later = call_later
        self.codes: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._untold = 0
        self._latest: TunnelError | None = None

    def report(self, address: str, error: TunnelError) -> None:
        """Log that a peer at ``address`` was refused with ``error``, whose text names the peer."""
        self.codes[error.code] += 1
        if not self._lines:
            self._call_later(PERIOD, self._account)
        if self._lines[address] >= REFUSALS_EACH or self._lines.total() >= REFUSALS:
            self._untold += 1
            self._latest = error
            return
        self._lines[address] += 1
        self._log.warn("refused {reason}", reason=error.line, code=error.code, peer=address)

    def _account(self) -> None:
        untold, latest = self._untold, self._latest
        self._lines.clear()
        self._untold, self._latest = 0, None
        if latest is not None:
            self._log.warn(
                "refused {count} more in {seconds:.0f} s, the last one: {reason}",
                count=untold,
                seconds=PERIOD,
                reason=latest.line,
                code=latest.code,
            )
