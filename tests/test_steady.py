"""What waits is not disturbed by whoever sets the clock of the wall."""

from __future__ import annotations

import time

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from nbdtun.steady import steady


def test_the_clock_of_the_wall_is_replaced() -> None:
    reactor = EPollReactor()
    assert reactor.seconds is time.time
    steady(reactor)
    assert reactor.seconds is time.monotonic
    call = reactor.callLater(5, print)
    assert 4 < call.getTime() - time.monotonic() <= 5
    call.cancel()


def test_what_waits_already_is_not_made_to_wait_for_ever() -> None:
    reactor = EPollReactor()
    call = reactor.callLater(5, print)
    steady(reactor)
    assert reactor.seconds is time.time
    call.cancel()


def test_a_clock_of_its_own_is_kept() -> None:
    clock = Clock()
    steady(clock)
    clock.advance(3)
    assert clock.seconds() == 3
