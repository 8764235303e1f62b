"""
The watch: all wires of one end of a tunnel, looked after by one epoll of their own, which the reactor sees as one descriptor.

A reactor does much for each event that a relay has no use for, and then looks for timers; with small requests that costs more than
moving their bytes. The watch goes from event to event without that. While there is traffic it also waits for the next event itself, for
a moment: the answer to a small request is back before the reactor would have come round; and where the last event came at once, without
going to sleep. Both have bounds, which are what an application that shares the reactor may be late by. Any reactor can watch an epoll, so
any reactor does.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReadDescriptor, IReadWriteDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.logs import make_logger
from nbdtun.process import Reactor

#: Seconds to wait for the next event when there just was one. Not less: a timer that is due before the kernel's own next tick has to be
#: set in the (virtual) machine's hardware each time, which costs a small request some 10 us on each hop.
LINGER = 0.005

#: Seconds for which the next event is looked out for without going to sleep, where the last one came as soon as that. To sleep and be woken
#: costs a small request more than all that is done for it. Whoever else wants to run goes first.
SPIN = 0.0001

#: Seconds that it takes at most to serve a small request. Who is busy for longer, with bulk, has little to gain by not sleeping.
LIGHT = 0.00006

#: Seconds after which the reactor gets its turn, however much is going on.
STAY = 0.01

#: Events that are taken at a time.
EVENTS = 64

#: Reads of one wire before others get their turn; those that are ready together share them. What one has read then goes on at the other end
#: while the next one reads, and is still in the processor's cache there.
READS = 8

_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


class WireSelector(Protocol):
    """What wires ask for; see :class:`Selector`."""

    @property
    def reactor(self) -> Reactor:
        """On whose behalf it watches."""

    @property
    def reads(self) -> int:
        """How often a wire may read now before others get their turn."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """Tell ``reader`` when it can read."""

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Tell ``writer`` when it can write."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Tell ``reader`` no more; its descriptor must still be open."""

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Tell ``writer`` no more; its descriptor must still be open."""

    def read_again(self, reader: IReadDescriptor) -> None:
        """Let ``reader`` read once more in the next round: it has bytes that no descriptor shows."""


@implementer(IReactorFDSet, IReadDescriptor)
class Selector:
    """Watches wires on behalf of ``reactor``, for which it is one descriptor as long as there is a wire to watch."""

    log = make_logger()

    def __init__(self, reactor: Reactor, linger: float = LINGER, stay: float = STAY) -> None:
        self.reactor = reactor
        self._linger = linger
        self._stay = stay
        self._epoll: select.epoll | None = None
        self._wires: dict[int, IReadWriteDescriptor] = {}
        self._masks: dict[int, int] = {}
        self._again: dict[IReadWriteDescriptor, None] = {}
        self.reads = READS  # that a wire may make now before others get their turn
        self._serving = False
        self._spins = False  # whether the last event came at once
        self._came = 0.0  # and when
        self._turn: IDelayedCall | None = None  # for those who read again, when no descriptor will wake the reactor

    def __repr__(self) -> str:
        return f"<Selector of {len(self._wires)} wires>"

    # What wires ask for.

    def addReader(self, reader: Any) -> None:
        """Tell ``reader`` when it can read."""
        self._change(reader, _READ, 0)

    def addWriter(self, writer: Any) -> None:
        """Tell ``writer`` when it can write."""
        self._change(writer, _WRITE, 0)

    def removeReader(self, reader: Any) -> None:
        """Tell ``reader`` no more; its descriptor must still be open."""
        self._again.pop(reader, None)
        self._change(reader, 0, _READ)

    def removeWriter(self, writer: Any) -> None:
        """Tell ``writer`` no more; its descriptor must still be open."""
        self._change(writer, 0, _WRITE)

    def read_again(self, reader: Any) -> None:
        """Let ``reader`` read once more in the next round: it has bytes that no descriptor shows."""
        self._again[reader] = None
        self._take_turn()

    def getReaders(self) -> list[Any]:
        """Who waits to read."""
        return [self._wires[fd] for fd, mask in self._masks.items() if mask & _READ]

    def getWriters(self) -> list[Any]:
        """Who waits to write."""
        return [self._wires[fd] for fd, mask in self._masks.items() if mask & _WRITE]

    def removeAll(self) -> list[Any]:
        """Watch nothing any more; returns who was watched."""
        watched = list(self._wires.values())
        self._again.clear()
        for wire in watched:
            self._change(wire, 0, _READ | _WRITE)
        return watched

    def _change(self, wire: Any, on: int, off: int) -> None:
        fd = wire.fileno()
        before = self._masks.get(fd, 0)
        mask = (before | on) & ~off
        if mask == before:
            return
        epoll = self._open()
        if not mask:
            del self._masks[fd], self._wires[fd]
            epoll.unregister(fd)
            self._close_if_idle()
            return
        self._masks[fd] = mask
        self._wires[fd] = wire
        if before:
            epoll.modify(fd, mask)
        else:
            epoll.register(fd, mask)

    def _open(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            self.reactor.addReader(self)
        return self._epoll

    def _close_if_idle(self) -> None:
        """An end without channels holds no descriptor; but the reactor must find the same one when a round ends as when it began."""
        if self._epoll is not None and not self._wires and not self._serving:
            self.reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    def _take_turn(self) -> None:
        if self._again and not self._serving and self._turn is None:
            self._turn = self.reactor.callLater(0, self._turn_comes)

    def _turn_comes(self) -> None:
        self._turn = None
        self.doRead()

    # What the reactor does.

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """How twistd's log names it."""
        return "selector"

    def doRead(self) -> None:
        """Something has happened: serve it, and what follows shortly."""
        self._serving = True
        try:
            self._serve_for(self._stay)
        finally:
            self._serving = False
        self._close_if_idle()
        self._take_turn()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is stopping."""
        for wire in self.removeAll():
            wire.connectionLost(reason)

    def _serve_for(self, seconds: float) -> None:
        if self._epoll is None:
            return
        poll = self._epoll.poll
        end = time.monotonic() + seconds
        ready = poll(0, EVENTS)
        while True:
            if self._again:
                ready += self._those_again()
            if not ready:
                return
            self._serve(ready)
            if not self._wires or (now := time.monotonic()) >= end:
                return
            ready = poll(0, EVENTS) if self._again else self._next(poll, now)

    def _next(self, poll: Callable[[float, int], list[tuple[int, int]]], now: float) -> list[tuple[int, int]]:
        """Wait for the next events, from ``now`` on; none come for a moment if nothing is going on any more."""
        ready: list[tuple[int, int]] = []
        spins = self._spins and now - self._came < LIGHT
        while spins and not (ready := poll(0, EVENTS)) and time.monotonic() - now < SPIN:
            os.sched_yield()
        ready = ready or poll(self._linger, EVENTS)
        self._came = time.monotonic()
        self._spins = bool(ready) and self._came - now < SPIN
        return ready

    def _those_again(self) -> list[tuple[int, int]]:
        again, self._again = self._again, {}
        return [(wire.fileno(), _READ) for wire in again]

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        wires = self._wires
        self.reads = READS // len(ready) or 1
        for fd, event in ready:
            wire = wires.get(fd)
            if wire is None:
                continue  # closed by what came before it in the same round
            try:
                # A wire that broke finds out by itself when it reads, or else when it writes; what it does not want, it does not do.
                if event != _WRITE:
                    wire.doRead()
                if event != _READ:
                    wire.doWrite()
            except Exception:
                self._drop(wire, Failure())

    def _drop(self, wire: IReadWriteDescriptor, failure: Failure) -> None:
        """A bug in one wire's user is not the others' end."""
        self.log.failure("a bug in the user of {wire!r}", failure=failure, wire=wire)
        self._again.pop(wire, None)
        self._change(wire, 0, _READ | _WRITE)
        wire.connectionLost(failure)
