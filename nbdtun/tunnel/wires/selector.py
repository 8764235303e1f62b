"""
The selector: it watches all wires of one end of a tunnel with an epoll of its own, which the reactor sees as one descriptor.

For each event, a reactor does much that a relay does not need, and then checks its timers. With small requests, that costs more than moving
their bytes. The selector goes from event to event without it. While there is traffic, it also waits a moment for the next event itself: the
answer to a small request arrives before the reactor would have come round. If the last event came at once, it waits without going to sleep.
Both waits have limits; an application that shares the reactor may be late by that much. Any reactor can watch an epoll, so any reactor will
do. What another thread has for the reactor is not late: QEMU's answers come that way, and a guest that stands still waits for them.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReadDescriptor, IReadWriteDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from nbdtun.logs import make_logger
from nbdtun.process import Reactor

#: Seconds to wait for the next event after an event. Not less: a timer that is due before the kernel's next tick must be set in the
#: (virtual) machine's hardware each time, which costs a small request some 10 us on each hop.
LINGER = 0.005

#: Seconds to poll for the next event without going to sleep, if the last one came within this time. Sleeping and waking up costs a small
#: request more than all its processing. Other processes that want to run go first.
SPIN = 0.0001

#: The most seconds to serve a small request. A process that is busy for longer, with bulk data, gains little by not sleeping.
LIGHT = 0.00006

#: Seconds after which the reactor gets its turn, however much traffic there is.
STAY = 0.01

#: Events that are taken at a time.
EVENTS = 64

#: Reads of one wire before others get their turn; wires that are ready together share them. The other end can then process one wire's data,
#: still in the processor's cache, while the next wire reads.
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
    """Watches wires for ``reactor``, which sees it as one descriptor while there is a wire to watch."""

    log = make_logger()

    def __init__(self, reactor: Reactor, linger: float = LINGER, stay: float = STAY) -> None:
        self.reactor = reactor
        self._linger = linger
        self._stay = stay
        self._epoll: select.epoll | None = None
        self._wires: dict[int, IReadWriteDescriptor] = {}
        self._masks: dict[int, int] = {}
        self._again: dict[IReadWriteDescriptor, None] = {}
        self.reads = READS  # reads of a wire now, before others get their turn
        self._serving = False
        self._spins = False  # whether the last event came within SPIN
        self._came = 0.0  # when it came
        self._waker = -1  # what another thread wakes the reactor by
        self._wanted = False  # whether one has
        self._turn: IDelayedCall | None = None  # for wires that read again: no descriptor will wake the reactor for them

    def __repr__(self) -> str:
        return f"<Selector of {len(self._wires)} wires>"

    # Called by wires.

    def addReader(self, reader: Any) -> None:
        """Call ``reader`` when it can read."""
        self._change(reader, _READ, 0)

    def addWriter(self, writer: Any) -> None:
        """Call ``writer`` when it can write."""
        self._change(writer, _WRITE, 0)

    def removeReader(self, reader: Any) -> None:
        """Stop calling ``reader``; its descriptor must still be open."""
        self._again.pop(reader, None)
        self._change(reader, 0, _READ)

    def removeWriter(self, writer: Any) -> None:
        """Stop calling ``writer``; its descriptor must still be open."""
        self._change(writer, 0, _WRITE)

    def read_again(self, reader: Any) -> None:
        """Let ``reader`` read once more in the next round: it has bytes that its descriptor does not show."""
        self._again[reader] = None
        self._take_turn()

    def getReaders(self) -> list[Any]:
        """The wires that wait to read."""
        return [self._wires[fd] for fd, mask in self._masks.items() if mask & _READ]

    def getWriters(self) -> list[Any]:
        """The wires that wait to write."""
        return [self._wires[fd] for fd, mask in self._masks.items() if mask & _WRITE]

    def removeAll(self) -> list[Any]:
        """Stop watching all wires, and return them."""
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
        if before:
            epoll.modify(fd, mask)
        else:
            epoll.register(fd, mask)
        self._masks[fd] = mask
        self._wires[fd] = wire

    def _open(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            if (waker := getattr(self.reactor, "waker", None)) is not None:  # a reactor with a loop of another's has none
                self._waker = waker.fileno()
                self._epoll.register(self._waker, _READ)
            self.reactor.addReader(self)
        return self._epoll

    def _close_if_idle(self) -> None:
        """An end without channels holds no descriptor; but during a round, the descriptor must not change for the reactor."""
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

    # Called by the reactor.

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """Its name in twistd's log."""
        return "selector"

    def doRead(self) -> None:
        """There are events: serve them, and those that follow shortly."""
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
            self._lose(wire, reason)

    def _serve_for(self, seconds: float) -> None:
        if self._epoll is None:
            return
        poll = self._epoll.poll
        end = time.monotonic() + seconds
        self._wanted = False
        ready = poll(0, EVENTS)
        while True:
            if self._again:
                ready += self._those_again()
            if not ready:
                return
            self._serve(ready)
            if self._wanted or not self._wires or (now := time.monotonic()) >= end:
                return
            ready = poll(0, EVENTS) if self._again else self._next(poll, now)

    def _next(self, poll: Callable[[float, int], list[tuple[int, int]]], now: float) -> list[tuple[int, int]]:
        """Wait a moment for the next events, from ``now`` on; the list is empty if none come."""
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
                self._wanted |= fd == self._waker
                continue  # else it was closed by an earlier event of the same round
            try:
                # A broken wire notices that when it reads or writes; it ignores calls that it has not asked for.
                if event != _WRITE:
                    wire.doRead()
                if event != _READ:
                    wire.doWrite()
            except Exception:  # a bug in its user, which must not end the other wires
                self._drop(wire, fd, Failure())

    def _drop(self, wire: IReadWriteDescriptor, fd: int, failure: Failure) -> None:
        """A bug in one wire's user must not end the other wires."""
        self.log.failure("a bug in the user of {wire}", failure=failure, wire=safe_repr(wire))
        self._again.pop(wire, None)
        self._forget(wire, fd)
        self._lose(wire, failure)

    def _forget(self, wire: IReadWriteDescriptor, fd: int) -> None:
        """Watch ``wire`` no more. Another one may have its descriptor by now."""
        if self._epoll is not None and self._wires.get(fd) is wire:
            del self._masks[fd], self._wires[fd]
            with contextlib.suppress(OSError):  # it was closed without a word, and the kernel has forgotten it
                self._epoll.unregister(fd)

    def _lose(self, wire: IReadWriteDescriptor, reason: Failure) -> None:
        """Tell ``wire`` that it is lost. Where its user fails at this too, nobody closes its socket but the garbage collector."""
        try:
            wire.connectionLost(reason)
        except Exception:  # and the same where it is told of that
            self.log.failure("another bug in the user of {wire}, as it was lost", wire=safe_repr(wire))
