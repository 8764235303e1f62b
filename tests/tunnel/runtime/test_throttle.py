"""The throttle against a clock that is moved by hand: rates, turns, changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from nbdtun.tunnel.runtime.throttle import DEPTH, Throttle
from tests.tunnel.runtime.readers import Reader, pass_time


@pytest.mark.parametrize("rate", [1_000, 10_000_000, 500_000_000])
@pytest.mark.parametrize("readers", [1, 5])
@pytest.mark.parametrize("late", [0.002, 0.012])
def test_all_together_get_the_rate(rate: int, readers: int, late: float) -> None:
    clock = Clock()
    throttle = Throttle(clock, rate)
    all_of_them = [Reader(throttle) for _ in range(readers)]
    for reader in all_of_them:
        reader.allowed()
    pass_time(clock, 10, late)
    assert sum(reader.got for reader in all_of_them) == pytest.approx(rate * 10, rel=0.03)


def test_the_bulk_shares_fairly() -> None:
    clock = Clock()
    throttle = Throttle(clock, 10_000_000)
    readers = [Reader(throttle) for _ in range(4)]
    for reader in readers:
        reader.allowed()
    pass_time(clock, 10)
    assert max(reader.got for reader in readers) < 1.3 * min(reader.got for reader in readers)


def test_the_urgent_go_ahead_and_the_bulk_does_not_starve() -> None:
    clock = Clock()
    throttle = Throttle(clock, 10_000_000)
    bulk, urgent = Reader(throttle), Reader(throttle, urgent=True)
    bulk.allowed()
    urgent.allowed()
    pass_time(clock, 10)
    assert urgent.got > 4 * bulk.got > 0


def test_an_urgent_one_that_wants_little_waits_for_little() -> None:
    clock = Clock()
    throttle = Throttle(clock, 10_000_000)
    for _ in range(8):
        Reader(throttle).allowed()
    pass_time(clock, 1)
    urgent = Reader(throttle, urgent=True, most=100)
    urgent.allowed()
    pass_time(clock, 0.03)
    assert urgent.got


def test_a_pause_is_not_made_up_for() -> None:
    clock = Clock()
    throttle = Throttle(clock, 1_000_000)
    clock.advance(60)
    reader = Reader(throttle)
    reader.allowed()
    assert reader.got <= 1_000_000 * DEPTH + 1


def test_a_new_rate_is_kept_from_now_on() -> None:
    clock = Clock()
    throttle = Throttle(clock, 1_000)
    reader = Reader(throttle)
    reader.allowed()
    pass_time(clock, 1)
    throttle.rate = 50_000_000
    before = reader.got
    pass_time(clock, 10)
    assert reader.got - before == pytest.approx(500_000_000, rel=0.03)


def test_without_a_limit_nobody_waits_any_more() -> None:
    clock = Clock()
    throttle = Throttle(clock, 1_000)
    reader = Reader(throttle)
    reader.allowed()
    asked: list[bool] = []
    reader.allowed = lambda: asked.append(True)  # type: ignore[method-assign]
    throttle.rate = None
    assert asked == [True]
    assert not clock.getDelayedCalls()


def test_who_is_gone_is_not_asked() -> None:
    clock = Clock()
    throttle = Throttle(clock, 1_000)
    reader = Reader(throttle)
    reader.allowed()
    throttle.forget(reader)
    before = reader.got
    pass_time(clock, 1)
    assert reader.got == before
    assert not clock.getDelayedCalls()


def test_who_has_enough_does_not_keep_the_clock_busy() -> None:
    clock = Clock()
    throttle = Throttle(clock, 1_000)
    reader = Reader(throttle)
    reader.allowed()
    reader.hungry = False
    pass_time(clock, 1)
    assert not clock.getDelayedCalls()


@given(
    rate=st.integers(1, 10**8),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 3)), max_size=30),
    urgent=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_never_more_than_the_rate_and_one_bucket(rate: int, steps: list[tuple[float, int]], urgent: list[bool]) -> None:
    clock = Clock()
    throttle = Throttle(clock, rate)
    readers = [Reader(throttle, urgent=each) for each in urgent]
    for seconds, number in steps:
        readers[number].allowed()
        clock.advance(seconds)
        assert sum(reader.got for reader in readers) <= rate * (clock.seconds() + DEPTH) + 1
