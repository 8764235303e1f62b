"""
Timers in batches: a thousand links with a heartbeat each wake the process up once a second, not a thousand times.

txaio has batched timers too. They belong to the one reactor that the process told txaio of, and may fire up to a second early.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime

from nbdtun.logs import make_logger

#: Calls of one batch after which the reactor gets its turn.
CHUNK = 100


class Batches:
    """Calls functions later, never early and up to a second late: together with all others that are due in that second."""

    log = make_logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._due: defaultdict[int, list[Callable[[], object]]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"<Batches {len(self._due)}>"

    def call_later(self, delay: float, function: Callable[..., object], *arguments: object) -> None:
        """Call ``function`` in ``delay`` seconds; it cannot be taken back."""
        now = self._reactor.seconds()
        second = math.ceil(now + delay)
        if second not in self._due:
            self._reactor.callLater(second - now, self._fire, second)
        self._due[second].append(partial(function, *arguments))

    def _fire(self, second: int) -> None:
        self._call(self._due.pop(second))

    def _call(self, calls: list[Callable[[], object]]) -> None:
        for call in calls[:CHUNK]:
            try:
                call()
            except Exception:
                self.log.failure("a timer of the tunnel failed")
        if calls[CHUNK:]:
            self._reactor.callLater(0, self._call, calls[CHUNK:])
