"""Which of several ways is taken; whole ones, with a real sshd, are in tests/integration/test_ssh.py."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import LinkLost, NbdtunError, ReachError, TLSError, Unreachable
from nbdtun.service.tunnel.reached import PORT_SECONDS, LateDialer, first


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


class FakeReached:
    """A far end that is reached, or not; ``dialer`` is itself."""

    def __init__(self, error: Exception | None = None, opening: Exception | None = None) -> None:
        self.did: list[str] = []
        self._error = error
        self._opening = opening

    async def open(self, channel: Any = None, session: bytes = b"", *, met: bool = True) -> Any:
        if channel is None:
            self.did.append("reached")
            if self._error is not None:
                raise self._error
            return self
        self.did.append(channel)
        if self._opening is not None:
            raise self._opening
        return None

    async def resume(self, channel: Any) -> None:
        self.did.append(f"{channel} again")

    async def greet(self) -> None:
        self.did.append("greeted")

    async def acknowledge(self) -> None:
        self.did.append("left")

    async def close(self) -> None:
        self.did.append("closed")


def done(work: Any) -> Any:
    """What has come of it, at once."""
    got: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got[0]


def late(*reached: FakeReached) -> LateDialer:
    ends: list[Any] = list(reached)
    runtime: Any = None
    return LateDialer(lambda: ends.pop(0), runtime)


def open_channel(dialer: LateDialer, name: Any) -> Any:
    return done(dialer.open(name))


def test_a_far_end_is_reached_once() -> None:
    far = FakeReached()
    dialer = late(far)
    assert done(dialer.greet()) is None
    assert open_channel(dialer, "one") is open_channel(dialer, "two") is None
    name: Any = "one"
    done(dialer.resume(name))
    done(dialer.close())
    assert far.did == ["reached", "greeted", "one", "two", "one again", "left", "closed"]


def test_one_that_has_ended_is_reached_again() -> None:
    gone, far = FakeReached(opening=Unreachable("nothing receives it there any more")), FakeReached()
    assert open_channel(late(gone, far), "one") is None
    assert gone.did == ["reached", "one", "left", "closed"]
    assert far.did == ["reached", "one"]


def test_one_that_is_cut_off_is_not() -> None:
    far = FakeReached(opening=LinkLost("no route"))
    assert isinstance(open_channel(late(far), "one"), LinkLost)
    assert far.did == ["reached", "one"]


def test_one_that_cannot_be_reached_is_tried_for_each_channel() -> None:
    closed = FakeReached(ReachError("ssh://dest: Permission denied", "is it the right user?"))
    far = FakeReached()
    dialer = late(closed, far)
    assert str(open_channel(dialer, "one")) == "ssh://dest: Permission denied; is it the right user?"
    assert open_channel(dialer, "two") is None
    assert closed.did == ["reached", "left", "closed"]
