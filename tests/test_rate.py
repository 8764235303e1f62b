"""A rate: smooth, never negative, and unknown before anything has grown."""

from __future__ import annotations

import pytest

from nbdtun.rate import SMOOTHING_SECONDS, Rate


def test_it_is_unknown_until_time_has_passed() -> None:
    rate = Rate()
    assert repr(rate) == "<Rate unknown>"
    assert rate.sample(0.0, 100) is None
    assert rate.sample(0.0, 200) is None
    assert rate.sample(1.0, 200) == 100.0
    assert repr(rate) == "<Rate 100 B/s>"


def test_it_is_smooth() -> None:
    rate = Rate()
    rate.sample(0.0, 0)
    rate.sample(1.0, 100)
    assert rate.sample(1.0, 500) == 100.0  # no time has passed: nothing is learned
    then = rate.sample(2.0, 400)
    assert then is not None
    assert 100.0 < then < 300.0


def test_it_never_falls_below_nothing() -> None:
    rate = Rate()
    rate.sample(0, 100)
    assert rate.sample(1, 50) == 0
    assert rate.sample(2, 150) == 100
    for second in range(3, 100):
        rate.sample(second, 0)
    assert rate.value is not None
    assert 0.0 <= rate.value < 1.0


def test_many_short_intervals_are_as_good_as_one_long() -> None:
    long, short = Rate(), Rate()
    for rate in (long, short):
        rate.sample(0.0, 0)
        rate.sample(1.0, 100)
    long.sample(1.0 + SMOOTHING_SECONDS, 100 + round(300 * SMOOTHING_SECONDS))
    for step in range(1, 11):
        part = SMOOTHING_SECONDS * step / 10
        short.sample(1.0 + part, 100 + round(300 * part))
    assert short.value == pytest.approx(long.value)
