"""
Outages: the time between two links of a channel.

Links that are lost soon, and before they have carried anything, flap: after each such link in a row, the wait for the next is longer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nbdtun.errors import LinkLost

#: Seconds after which a lost link is no flap, even if it was idle.
BRIEF = 10.0


class Outage:
    """
    A channel's wait for its next link. After ``seconds``, ``expired`` is called with the error.

    ``redial`` gets the next link, if this end dials; its Deferred is cancelled when there is one, or none is wanted any more. ``since``
    is when the outage began, on the reactor's clock, None while there is none. ``trouble`` is why the latest attempt failed.
    """

    def __init__(
        self, reactor: IReactorTime, seconds: float, redial: Callable[[], Deferred[None]] | None, expired: Callable[[LinkLost], None]
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._redial = redial
        self._expired = expired
        self._redialling: Deferred[None] | None = None
        self._expiry: IDelayedCall | None = None
        self.since: float | None = None
        self.trouble: Exception | None = None

    def __repr__(self) -> str:
        return f"<Outage since={self.since} trouble={self.trouble!r}>"

    @property
    def redials(self) -> bool:
        """Whether this end gets the next link."""
        return self._redial is not None

    @property
    def redialling(self) -> bool:
        """Whether it is getting one now."""
        return self._redialling is not None

    def begin(self) -> None:
        """A link is gone."""
        self.since = self._reactor.seconds()
        self._expiry = self._reactor.callLater(self._seconds, self._expire)
        self.renew()

    def renew(self) -> None:
        """Get the next link, perhaps while there is still one: if that is lost meanwhile, the next is already on its way."""
        if self._redial is not None and self._redialling is None:
            self._redialling = self._redial()

    def kept(self) -> None:
        """The next link was refused, but the present one is still there."""
        self._redialling = None

    def end(self) -> float:
        """There is a new link, or none is wanted any more; returns the seconds that the outage lasted."""
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        redialling, self._redialling = self._redialling, None
        if redialling is not None:
            redialling.cancel()
        lasted, self.since = self._lasted, None
        return lasted

    @property
    def _lasted(self) -> float:
        now: float = self._reactor.seconds()
        return now - (now if self.since is None else self.since)

    def _expire(self) -> None:
        because = f": {self.trouble}" if self.trouble is not None else ""
        self._expired(LinkLost(f"no new link within {self._lasted:.0f} s{because}"))


class Flaps:
    """Counts the flaps of one channel. Rules only; ``now`` is in seconds, ``carried`` the bytes of both directions so far."""

    def __init__(self) -> None:
        self.count = 0
        self._linked: tuple[float, int] | None = None

    def __repr__(self) -> str:
        return f"<Flaps {self.count}>"

    def linked(self, now: float, carried: int) -> None:
        """There is a link."""
        self._linked = now, carried

    def lost(self, now: float, carried: int) -> None:
        """The link is gone. Nothing is counted for a channel that never had one."""
        if self._linked is not None:
            since, before = self._linked
            self.count = self.count + 1 if now - since < BRIEF and carried == before else 0
