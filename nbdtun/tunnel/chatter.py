"""
Chatter: what the log says of channels and their links, as long as that is not too much.

A peer who is admitted can open channels and have them cut as often as he likes; the disk with the log is not his to fill.
"""

from __future__ import annotations

from collections.abc import Callable

import txaio

#: Seconds of one while, and lines in it.
PERIOD, LINES = 60.0, 200


class Chatter:
    """Counts the lines of one end of a tunnel; ``call_later`` calls when a while is over."""

    log = txaio.make_logger()

    def __init__(self, call_later: Callable[..., object]) -> None:
        self._call_later = call_later
        self._wanted = 0

    def __repr__(self) -> str:
        return f"<Chatter {self._wanted}>"

    def free(self) -> bool:
        """Whether one more line may be written; one that may not is counted, and the count is a line at the end of the while."""
        if not self._wanted:
            self._call_later(PERIOD, self._account)
        self._wanted += 1
        return self._wanted <= LINES

    def _account(self) -> None:
        untold, self._wanted = self._wanted - LINES, 0
        if untold > 0:
            self.log.warn("{count} more lines about channels in {seconds:.0f} s", count=untold, seconds=PERIOD)
