"""
Timers in batches: the heartbeats of a thousand links wake the process once a second, not a thousand times.

txaio has batched timers too. They use the one reactor that txaio was set to in this process, and may fire up to a second early.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime

from nbdtun.logs import make_logger

#: Calls of one batch before the reactor gets its turn.
CHUNK = 100


class Batches:
    """Calls functions later, together with all others due in the same second: never early, and up to a second late."""

    log = make_logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._due: defaultdict[int, list[Callable[[], object]]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"<Batches {len(self._due)}>"

    def call_later(self, delay: float, function: Callable[..., object], *arguments: object) -> None:
        """Call ``function`` in ``delay`` seconds; this cannot be cancelled."""
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
            except Exception:  # a bug in one timer must not stop the others of this batch
                self.log.failure("a timer of the tunnel failed")
        if calls[CHUNK:]:
            self._reactor.callLater(0, self._call, calls[CHUNK:])
