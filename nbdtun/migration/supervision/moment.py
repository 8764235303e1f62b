"""
The moment of the switchover: as soon as all is copied, at a time of day, or when an operator says so.

A time of day is compared with the host's clock again and again: that may be set meanwhile, and the host may sleep.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import TooLate
from nbdtun.migration.settings import HOLD

#: How soon a clock that was set is noticed, in seconds.
AGAIN_SECONDS = 30.0


class Moment:
    """
    The moment of one migration: not before ``at``, in seconds since the epoch by ``wall``. With :data:`~nbdtun.migration.settings.HOLD`
    it is not before :meth:`choose` is called.
    """

    def __init__(self, clock: IReactorTime, at: float = HOLD, wall: Callable[[], float] = time) -> None:
        self.at = at
        self._clock = clock
        self._wall = wall
        self._waiting: Deferred[None] | None = None
        self._past = False

    def __repr__(self) -> str:
        return f"<Moment {'past' if self._past else self.at}>"

    @property
    def until(self) -> float | None:
        """The time of day that is waited for, in seconds since the epoch; None for an operator's word."""
        return None if self.at == HOLD else self.at

    @property
    def ahead(self) -> bool:
        """Whether it is still to come."""
        return not self._past and self.at > self._wall()

    def choose(self, at: float) -> None:
        """
        Let it be ``at``, in seconds since the epoch; at once if that is over.

        :raise TooLate: it is past, and ``at`` is later.
        """
        if self._past and at > self._wall():
            raise TooLate("it switches over already")
        self.at = at
        self._look()

    async def come(self, held: Callable[[float | None], object]) -> None:
        """
        Wait until it has come; from then on it is past. Lasts as long as its operator wants.

        ``held`` is called with :attr:`until` before each wait, also after a change.
        """
        while self.ahead:
            held(self.until)
            self._waiting = Deferred()
            look = self._clock.callLater(min(self.at - self._wall(), AGAIN_SECONDS), self._look)
            try:
                await self._waiting
            finally:
                if look.active():
                    look.cancel()
        self._past = True

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)
