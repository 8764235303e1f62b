"""
QEMU's events: a listener is made before the command that causes them, and hears them until it is closed.

A listener ends with the monitor: a wait for an event that can no longer come fails instead of lasting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nbdtun.deferreds import with_timeout
from nbdtun.errors import MonitorError, MonitorLost

#: Seconds of a period, and the most events of one QEMU in it: each takes time from all channels of this process, whoever wants it.
PERIOD, EVENTS = 5.0, 5000

#: Why a monitor ends that sends more.
FLOODED = f"QEMU sends more than {EVENTS} events in {PERIOD:g} s, or sends them faster than they are dealt with; is it a QEMU monitor?"

#: The most events that may wait in one listener.
WAITING = 1024


class Flood:
    """Counts the events of one QEMU; ``now`` is its clock, in seconds."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._began = -PERIOD
        self._count = 0

    def __repr__(self) -> str:
        return f"<Flood of {self._count}>"

    def rises(self) -> bool:
        """One more has come; returns whether these are too many."""
        now = self._now()
        if now - self._began >= PERIOD:
            self._began, self._count = now, 0
        self._count += 1
        return self._count > EVENTS


@frozen
class Event:
    """One event: QEMU's name for it, its data, and when it came here by the reactor's clock in seconds."""

    name: str
    data: Mapping[str, Any] = field(factory=dict)
    seconds: float = 0.0


class Listener:
    """
    A queue of the events of some names, in the order in which QEMU sent them.

    Use it as a context manager: it hears nothing after it is left.
    """

    def __init__(self, clock: IReactorTime, names: tuple[str, ...], leave: Callable[[Listener], None]) -> None:
        self.names = names
        self._clock = clock
        self._leave = leave
        self._heard: deque[Event] = deque()
        self._lost: MonitorLost | None = None
        self._waiting: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Listener {' '.join(self.names)}, {len(self._heard)} heard{', lost' if self._lost else ''}>"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._leave(self)

    def hear(self, event: Event) -> None:
        """An event came (called by the monitor)."""
        if event.name in self.names:
            self._heard.append(event)
            self._wake()

    @property
    def overrun(self) -> bool:
        """Whether more events wait than a QEMU at work can have caused."""
        return len(self._heard) > WAITING

    def end(self, lost: MonitorLost) -> None:
        """No event will come any more (called by the monitor)."""
        self._lost = lost
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    @property
    def heard(self) -> tuple[Event, ...]:
        """The events that :meth:`next` has not taken yet."""
        return tuple(self._heard)

    async def next(self, seconds: float | None = None) -> Event:
        """
        The next event, waited for at most ``seconds``; for one waiter at a time.

        :raise MonitorLost: the monitor is gone, and no event is left.
        :raise MonitorError: none came in time.
        """
        while not self._heard:
            if self._lost is not None:
                raise self._lost.again()
            self._waiting = Deferred()
            await (self._waiting if seconds is None else self._at_most(seconds, self._waiting))
        return self._heard.popleft()

    def _at_most(self, seconds: float, waiting: Deferred[None]) -> Deferred[None]:
        late = f"QEMU sent no {' or '.join(self.names)} within {seconds:g} s"
        return with_timeout(self._clock, seconds, waiting, lambda: MonitorError(late))
