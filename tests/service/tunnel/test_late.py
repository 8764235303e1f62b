"""A far end that ssh reaches when a channel is opened."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import FarEndGone, LinkLost, NbdtunError, ReachError, Unreachable
from nbdtun.service.tunnel.late import LateDialer
from tests.service.stage import done


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


@pytest.mark.parametrize("error", [FarEndGone("nothing receives it there any more"), Unreachable("connection refused")])
def test_one_that_has_ended_is_reached_again(error: NbdtunError) -> None:
    gone, far = FakeReached(opening=error), FakeReached()
    assert open_channel(late(gone, far), "one") is None
    assert gone.did == ["reached", "one", "left", "closed"]
    assert far.did == ["reached", "one"]


def test_one_that_has_ended_is_left_once() -> None:
    """Two channels find it: the later one leaves alone what the first has reached instead."""
    gone, far = FakeReached(), FakeReached()
    trouble: Deferred[None] = Deferred()

    async def open(channel: Any = None, session: bytes = b"", *, met: bool = True) -> Any:
        if channel is None:
            return gone
        if channel == "late":
            await trouble
        raise Unreachable("connection refused")

    gone.open = open  # type: ignore[method-assign]
    dialer, name = late(gone, far), "late"
    waiting: Any = Deferred.fromCoroutine(dialer.open(name))  # type: ignore[arg-type]
    assert open_channel(dialer, "one") is None
    trouble.callback(None)
    assert waiting.called
    assert gone.did == ["left", "closed"]
    assert far.did == ["reached", "one", "late"]


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
