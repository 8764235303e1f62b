"""
One process of a daemon among those before and after it, whatever the daemon has.

What a source's daemon has is its channels, which dial by themselves; so it is asked for nothing but how many its local users have.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbdtun.errors import LinkLost
from nbdtun.service.succession.earlier import Earlier
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.elsewhere import Passed, Share
from nbdtun.tunnel.runtime.throttle import Throttle
from nbdtun.tunnel.source.client import Source


class Generation:
    """
    ``throttle`` is its end's bandwidth limit; ``fixed`` says why this program cannot be replaced now, if it cannot.

    ``earlier`` is the process before this one, while there is one; ``replaced_by`` the id of the one after it. ``measure`` returns the
    metrics of this one; ``figures_before`` are those that the processes before it have told last.
    """

    def __init__(self, throttle: Throttle, fixed: Callable[[], str]) -> None:
        self.throttle = throttle
        self._fixed = fixed
        self._took_over = False
        self.earlier: Earlier | None = None
        self.replaced_by: int | None = None
        self.measure: Callable[[], Mapping[str, Any]] = dict
        self.figures_before: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} after {self.earlier!r}, before {self.replaced_by}>"

    @property
    def fixed(self) -> str:
        """Why its program cannot be replaced; empty if it can."""
        return self._fixed()

    @property
    def ports(self) -> Sequence[str]:
        """The endpoints at which its channels are resumed: none, where it dials."""
        return ()

    @property
    def encrypted(self) -> bool | None:
        """Whether links that are resumed there are under TLS; None, where it dials."""
        return None

    @property
    def figures(self) -> Mapping[str, Any]:
        """Its metrics; none, if they are not served."""
        return self.measure()

    def counted(self, users: Mapping[str, int], figures: Mapping[str, Any]) -> None:
        """So many channels do local users have in the processes before this one, and these are their metrics."""
        self.figures_before = figures

    def keep_port(self, label: str) -> None:
        """Listen at another one as well, as long as there is a process before this one (:exc:`NbdtunError`)."""

    @property
    def told(self) -> dict[str, int]:
        """What a report has about it: ``replaced_by``, once it was replaced."""
        return {} if self.replaced_by is None else {"replaced_by": self.replaced_by}

    def follow(self, earlier: Earlier) -> None:
        """Ask the process before this one, as long as there is one."""
        self.earlier = earlier
        earlier.when_lost().addCallback(lambda _: self._bereaved() if earlier.elder else self.alone())

    def alone(self) -> None:
        """The process before this one has ended."""
        self.earlier = None

    def _bereaved(self) -> None:
        """The same, but it has left the one before it."""

    def took_over(self) -> None:
        """The daemon is this process's now: where it stops, so does the one before."""
        self._took_over = True

    def end_all(self) -> None:
        """The daemon stops, with the process before this one."""
        if self.earlier is not None and self._took_over:
            self.earlier.leave()


class Senders(Generation):
    """The channels of ``source``."""

    def __init__(self, source: Source, fixed: Callable[[], str]) -> None:
        super().__init__(source.runtime.throttle, fixed)
        self._source = source

    @property
    def finished(self) -> bool:
        """Whether nothing is left: no channel is open, or being opened."""
        return self.earlier is None and not self._source.channels and not self._source.users.here

    @property
    def users(self) -> Mapping[str, int]:
        """The channels of each local user, those of the processes before this one included."""
        return self._source.users.here + self._source.users.elsewhere

    def counted(self, users: Mapping[str, int], figures: Mapping[str, Any]) -> None:
        """See :meth:`Generation.counted`."""
        super().counted(users, figures)
        self._source.users.elsewhere = Counter(users)

    def alone(self) -> None:
        """The process before this one has ended."""
        super().alone()
        self.counted({}, self.figures_before)

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        """Nothing: nobody dials a source."""
        return Share()

    def adopt(self, passed: Passed) -> None:
        """Refuse (:exc:`LinkLost`)."""
        raise LinkLost("a source's daemon takes no connections")

    async def whose(self, vm: str | None, session: str | None, uuid: str | None = None) -> tuple[bool, int]:
        """Nothing."""
        return False, 0

    def adopt_control(self, sock: socket.socket, said: bytes, caller: Caller) -> None:
        """Refuse (:exc:`LinkLost`)."""
        sock.close()
        raise LinkLost("a source's daemon takes no connections")
