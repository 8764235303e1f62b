"""
The endpoints at which a destination listens: its own, and those of the processes before it whose options were other ones.

A source that has lost a link dials the endpoint that it knows. So that one stays open for as long as the process that has its channel.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import MultiService
from twisted.internet.defer import maybeDeferred

from nbdtun.service.local.listening import ListeningService, LocalEndpoint


class Ports:
    """``own`` is a child of ``parent``, as the others are; ``make`` makes an endpoint. All are ``encrypted``, or none."""

    def __init__(self, parent: MultiService, own: ListeningService, make: Callable[[str], LocalEndpoint], *, encrypted: bool) -> None:
        self._parent = parent
        self._own = own
        self._make = make
        self._kept: list[ListeningService] = []
        self.encrypted = encrypted

    def __repr__(self) -> str:
        return f"<Ports {', '.join(self.labels)}>"

    @property
    def listening(self) -> list[ListeningService]:
        """All of them."""
        return [self._own, *self._kept]

    @property
    def labels(self) -> list[str]:
        """Their endpoints."""
        return [each.label for each in self.listening]

    def keep(self, label: str) -> None:
        """Listen there as well (:exc:`ConfigError`)."""
        service = ListeningService(self._make(label), self._own.factory)
        service.setServiceParent(self._parent)
        self._kept.append(service)

    def release(self) -> None:
        """Listen at the own one only."""
        while self._kept:
            maybeDeferred(self._kept.pop().disownServiceParent).addErrback(lambda _: None)
