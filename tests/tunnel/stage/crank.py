"""A reactor that turns when it is cranked: real descriptors, but nothing moves, and no time passes, until it is told."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.tunnel.wires.selector import READS

#: Turns after which a stage that still moves is taken for one that never rests.
RESTLESS = 20_000


@implementer(IReactorTime, IReactorFDSet)
class Crank(Clock):
    """A reactor that turns when it is cranked, and tells descriptors what Twisted's poll reactor would, hang-ups included."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = READS
        self._readers: dict[int, Any] = {}
        self._writers: dict[int, Any] = {}
        self.movers: list[Callable[[], bool]] = []  # programs and cables: each says whether it has moved anything

    def addReader(self, reader: Any) -> None:
        self._readers[reader.fileno()] = reader

    def addWriter(self, writer: Any) -> None:
        self._writers[writer.fileno()] = writer

    def removeReader(self, reader: Any) -> None:
        self._readers = {fd: each for fd, each in self._readers.items() if each is not reader}

    def removeWriter(self, writer: Any) -> None:
        self._writers = {fd: each for fd, each in self._writers.items() if each is not writer}

    @property
    def reactor(self) -> Crank:
        """It is its own watch, too: what the wires do is the same with any."""
        return self

    def read_again(self, reader: Any) -> None:
        self.callLater(0, lambda: reader.doRead() if reader in self._readers.values() else None)

    def removeAll(self) -> list[Any]:
        raise NotImplementedError

    def getReaders(self) -> list[Any]:
        return list(self._readers.values())

    def getWriters(self) -> list[Any]:
        return list(self._writers.values())

    def turn(self) -> bool:
        """Do what is due now, once; say whether there was anything."""
        due = bool(self.calls) and self.calls[0].getTime() <= self.seconds()
        self.advance(0)
        moved = [mover() for mover in tuple(self.movers)]
        return self._poll() or any(moved) or due

    def rest(self) -> None:
        """Turn until nothing moves any more."""
        for _ in range(RESTLESS):
            if not self.turn():
                return
        raise AssertionError(f"no rest: {self._readers} {self._writers} {self.calls}")

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass, and all that happens meanwhile."""
        end = self.seconds() + seconds
        while self.seconds() < end:
            self.rest()
            due = min((call.getTime() for call in self.calls), default=end)
            self.advance(max(0.0, min(end, max(due, self.seconds() + step)) - self.seconds()))
        self.rest()

    def _poll(self) -> bool:
        poll = select.poll()
        for fd in {*self._readers, *self._writers}:
            poll.register(fd, (select.POLLIN if fd in self._readers else 0) | (select.POLLOUT if fd in self._writers else 0))
        ready = poll.poll(0)
        for fd, event in ready:
            selectable = self._readers.get(fd) or self._writers.get(fd)
            if selectable is not None:
                self._dispatch(fd, selectable, event)
        return bool(ready)

    def _dispatch(self, fd: int, selectable: Any, event: int) -> None:
        # As _doReadOrWrite in twisted.internet.posixbase: a write follows even where the read has closed the descriptor.
        if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) and not event & select.POLLIN:
            was_reading = fd in self._readers
            self.removeReader(selectable)
            self.removeWriter(selectable)
            selectable.connectionLost(Failure(CONNECTION_DONE if was_reading else CONNECTION_LOST))
            return
        why = selectable.doRead() if event & select.POLLIN else None
        if not why and event & select.POLLOUT:
            why = selectable.doWrite()
        assert why is None
