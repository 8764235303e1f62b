"""
The throttle: one limit for the rate at which all channels of one end send together, in however many processes.

It is a bucket that fills with time. A splice asks for bytes before it reads them from its local socket; when the bucket is empty, it waits
in line. Urgent channels (memory and control) go ahead of bulk ones, but not for ever: a disk that its guest waits for gets its turn, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nbdtun.tunnel.runtime.bucket import Bucket, SharedBucket

#: The bucket holds so many seconds' worth at most: a reactor that is late by less loses nothing of the rate.
DEPTH = 0.1

#: The smallest grant, in seconds' worth of bytes, and the most bytes that it can be (one read): small reads cost as much as large ones.
QUANTUM = 0.01
MOST = 128 * 1024

#: The shortest wait in seconds; reactors have none that is shorter.
TICK = 0.001

#: Seconds after which a bulk channel is served although an urgent one is waiting.
PATIENCE = 0.1


class Waiter(Protocol):
    """Has something to read, and waits for its turn."""

    urgent: bool

    def allowed(self) -> None:
        """Ask again now."""


class Limit(Protocol):
    """What a channel asks before it reads from its local socket."""

    @property
    def limited(self) -> bool:
        """Whether it must ask."""

    @property
    def alone(self) -> bool:
        """Whether it counts in this process alone, so that no worker can keep to it."""

    def grant(self, waiter: Waiter) -> int:
        """How many bytes ``waiter`` may read now; after 0, its ``allowed`` is called later."""

    def spent(self, count: int) -> None:
        """``count`` of the granted bytes were read."""

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer waits."""


class Throttle:
    """
    Limits all channels together to ``rate`` bytes per second; None for no limit. It can be changed at any time.

    Only the streams' payload counts; frames and TLS add less than one percent. Those in ``heeded`` are called when the rate is another one.
    """

    def __init__(self, reactor: IReactorTime, rate: float | None = None) -> None:
        self._reactor = reactor
        self._rate = rate
        self.limited = rate is not None
        self.alone = False
        self._bucket = Bucket()
        self._waiting: dict[Waiter, float] = {}  # since when; in order of arrival
        self._served: Waiter | None = None  # the waiter whose turn it is
        self._timer: IDelayedCall | None = None
        self.heeded: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<Throttle {self._rate} B/s, {len(self._waiting)} waiting>"

    @property
    def rate(self) -> float | None:
        """Bytes per second, None without a limit."""
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._rate = rate
        self.limited = rate is not None
        self._bucket.empty(self._reactor.seconds())
        self._serve_all()
        for heed in self.heeded:
            heed()

    def grant(self, waiter: Waiter) -> int:
        """Return how many bytes ``waiter`` may read now; after 0, its ``allowed`` is called later. There must be a limit."""
        assert self._rate is not None
        if self._waiting and waiter is not self._served and not waiter.urgent:
            return self._wait(waiter)
        there = self._there()
        if there < self._quantum:
            return self._wait(waiter)
        self._waiting.pop(waiter, None)
        return int(there)

    def spent(self, count: int) -> None:
        """``count`` of the granted bytes were read."""
        if self._rate is not None:
            self._bucket.spend(count / self._rate, 0.0)

    def share(self) -> int:
        """
        Return a descriptor with which the throttle of another process can :meth:`join` this one; it stays this one's.

        :raise OSError: there is no memory, or no descriptor, for it.
        """
        if not isinstance(self._bucket, SharedBucket):
            self._bucket = SharedBucket.make(self._bucket.spend(0.0, 0.0))
        return self._bucket.descriptor

    def join(self, descriptor: int) -> None:
        """Keep to one rate with the throttles of other processes; it owns ``descriptor`` then."""
        self._bucket = SharedBucket(descriptor)

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer waits."""
        self._waiting.pop(waiter, None)

    @property
    def _quantum(self) -> float:
        assert self._rate is not None
        return max(1.0, min(MOST, self._rate * QUANTUM))

    def _there(self) -> float:
        assert self._rate is not None
        now: float = self._reactor.seconds()
        return (now - self._bucket.spend(0.0, now - DEPTH)) * self._rate

    def _wait(self, waiter: Waiter) -> int:
        self._waiting.setdefault(waiter, self._reactor.seconds())
        if self._timer is None:
            assert self._rate is not None
            seconds = max(TICK, (self._quantum - self._there()) / self._rate)
            if isinstance(self._bucket, SharedBucket):  # or the same process would always be the first at it
                seconds *= 1 + random.random()
            self._timer = self._reactor.callLater(seconds, self._serve)
        return 0

    def _serve(self) -> None:
        """Let the waiters ask in turn until the bucket is empty; the others stay in line."""
        self._timer = None
        if self._rate is None:
            return
        for waiter in self._in_turn():
            if self._rate is None or self._there() < self._quantum:
                break
            if self._waiting.pop(waiter, None) is not None:
                self._served = waiter
                waiter.allowed()
                self._served = None
        left = next(iter(self._waiting), None)
        if left is not None:
            self._wait(left)

    def _in_turn(self) -> list[Waiter]:
        """Bulk waiters come last, except the one that has waited longest, once that is too long."""
        late = self._reactor.seconds() - PATIENCE
        first = next((each for each, since in self._waiting.items() if not each.urgent and since <= late), None)
        return sorted(self._waiting, key=lambda each: (each is not first, not each.urgent))

    def _serve_all(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.allowed()
