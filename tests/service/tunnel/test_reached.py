"""Which of several ways is taken; whole ones, with a real sshd, are in tests/integration/test_ssh.py."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import LinkLost, NbdtunError, TLSError, Unreachable
from nbdtun.service.tunnel.reached import PORT_SECONDS, first


class Attempts:
    """Some attempts, each of which ends when told to."""

    def __init__(self, count: int) -> None:
        self.clock: Any = Clock()
        self.waiting: list[Deferred[None]] = [Deferred() for _ in range(count)]
        self.got: list[int | NbdtunError] = []
        attempts = (self._wait(each) for each in self.waiting)
        Deferred.fromCoroutine(first(self.clock, PORT_SECONDS, attempts)).addCallback(self.got.append)

    async def _wait(self, each: Deferred[None]) -> None:
        await each


def test_the_first_that_succeeds_is_taken() -> None:
    attempts = Attempts(3)
    attempts.waiting[0].errback(Unreachable("refused"))
    assert attempts.got == []
    attempts.waiting[2].callback(None)
    assert attempts.got == [2]
    assert attempts.waiting[1].called  # it was cancelled
    assert attempts.clock.getDelayedCalls() == []


def test_none_succeeds() -> None:
    attempts = Attempts(2)
    attempts.waiting[0].errback(Unreachable("refused"))
    attempts.waiting[1].errback(LinkLost("no route"))
    assert [str(error) for error in attempts.got] == ["no route"]


def test_a_silent_port_is_not_waited_for() -> None:
    attempts = Attempts(2)
    attempts.waiting[0].errback(Unreachable("refused"))
    attempts.clock.advance(PORT_SECONDS)
    assert [str(error) for error in attempts.got] == ["refused"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_that_it_is_another_end_counts_most(order: tuple[int, int]) -> None:
    attempts = Attempts(2)
    errors = [TLSError("not it"), LinkLost("no route")]
    for number in order:
        attempts.waiting[number].errback(errors[number])
    assert [str(error) for error in attempts.got] == ["not it"]
