"""
Contact with the other end: when it was heard last, how often all of its links together were lost, and whether it has hung up.

One cut of the network takes the links of all channels, each in its own moment. It is one outage, from the first lost link to the last new
one, also where a link is lost shortly after another is back.

The kernel closes the connections of a process that has ended. A network that is away closes none, and a firewall can only reset them. One
that has heard nothing for too long resets its connection as well, so that the other does not take that for its end.
"""

from __future__ import annotations

from collections.abc import Callable

#: Seconds after an outage in which another lost link still belongs to it.
SAME = 5.0


class Contact:
    """
    What is known of the other end, by the clock ``seconds``. ``outages`` counts those so far, ``losses`` the links that they took.

    ``hung_up``: it has closed a link, and none has come since. Those in ``heeded`` are called when a link is lost or back.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._heard_at = seconds()
        self._missing = 0
        self._since = 0.0
        self._until: float | None = None
        self._before = 0.0
        self.outages = self.losses = 0
        self.hung_up = False
        self.heeded: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<Contact outages={self.outages} missing={self._missing}>"

    def heard(self) -> None:
        """Something has arrived."""
        self._heard_at = self._seconds()

    def linked(self) -> None:
        """A link has come."""
        self.heard()
        self.hung_up = False

    @property
    def silent_for(self) -> float:
        """Seconds since something has arrived."""
        return self._seconds() - self._heard_at

    def lost(self) -> None:
        """A channel has lost its link."""
        now = self._seconds()
        if not self._missing and (self._until is None or now - self._until > SAME):
            self._before = self.down
            self._since = now
            self.outages += 1
        self._missing += 1
        self.losses += 1
        self._tell()

    def back(self) -> None:
        """A channel has a link again, or needs none any more."""
        self._missing -= 1
        self._until = self._seconds()
        self._tell()

    def _tell(self) -> None:
        for heed in self.heeded:
            heed()

    @property
    def down(self) -> float:
        """Seconds that all outages have lasted, with the present one."""
        if not self.outages:
            return 0.0
        until = self._seconds() if self._missing or self._until is None else self._until
        return self._before + until - self._since
