"""
Refusals: one line in the log for each connection that was refused, as long as these are few.

Whoever can reach the port can be refused as often as he likes. So one address gets some lines in a while, and all addresses together
get some more; what is beyond that is counted, and the count is one line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from nbdtun.errors import TunnelError

#: Seconds of one while.
PERIOD = 60.0

#: Lines in one while: of one address, and in all.
LINES_EACH, LINES = 5, 50


class Refusals:
    """Writes to ``log``; ``call_later`` calls when a while is over."""

    def __init__(self, log: Any, call_later: Callable[..., object]) -> None:
        self._log = log
        self._call_later = call_later
        self._lines: Counter[str] = Counter()
        self._untold = 0
        self._latest: TunnelError | None = None

    def tell(self, address: str, error: TunnelError) -> None:
        """Somebody at ``address`` was refused with ``error``, whose text names who it was."""
        if not self._lines:
            self._call_later(PERIOD, self._account)
        if self._lines[address] >= LINES_EACH or self._lines.total() >= LINES:
            self._untold += 1
            self._latest = error
            return
        self._lines[address] += 1
        self._log.warn("refused {reason}", reason=error.line, code=error.code)

    def _account(self) -> None:
        untold, latest = self._untold, self._latest
        self._lines.clear()
        self._untold, self._latest = 0, None
        if latest is not None:
            self._log.warn(
                "refused {count} more in {seconds:.0f} s, lastly {reason}",
                count=untold,
                seconds=PERIOD,
                reason=latest.line,
                code=latest.code,
            )
