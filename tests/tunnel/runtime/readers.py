"""Readers of a throttle, whose clock is moved by hand."""

from __future__ import annotations

from twisted.internet.task import Clock

from nbdtun.tunnel.runtime.throttle import Throttle


class Reader:
    """Has more to read than it ever may, unless told otherwise, and reads whenever it is allowed to."""

    def __init__(self, throttle: Throttle, *, urgent: bool = False, most: int = 256 * 1024) -> None:
        self.urgent = urgent
        self.got = 0
        self.hungry = True
        self._throttle = throttle
        self._most = most

    def allowed(self) -> None:
        while self.hungry:
            granted = self._throttle.grant(self)
            if not granted:
                return
            count = min(granted, self._most)
            self._throttle.spent(count)
            self.got += count


def pass_time(clock: Clock, seconds: float, late: float = 0.003) -> None:
    """Let time pass; the reactor is late by ``late`` seconds with everything."""
    end = clock.seconds() + seconds
    while clock.seconds() < end:
        clock.advance(late)
