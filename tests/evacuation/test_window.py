"""The hours in which guests may switch over."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ConfigError
from nbdtun.evacuation.window import Window

MINUTES = st.integers(0, 1439)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31))


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 12, 24, hour, minute)


def test_a_night() -> None:
    night = Window.parse("22:00-05:00")
    assert [night.is_open(at(hour)) for hour in (21, 22, 23, 0, 4, 5, 12)] == [False, True, True, True, True, False, False]
    assert night.opens(at(12)) == at(22)
    assert night.opens(at(3, 7)) == at(3, 7)


def test_a_day() -> None:
    day = Window.parse(" 9:30 - 17:00 ")
    assert [day.is_open(moment) for moment in (at(9, 29), at(9, 30), at(16, 59), at(17))] == [False, True, True, False]
    assert day.opens(at(18)) == at(9, 30) + timedelta(days=1)


@given(MINUTES, MINUTES.filter(bool), MOMENTS)
def test_it_opens_within_a_day_and_is_open_then(begin: int, length: int, now: datetime) -> None:
    window = Window(begin, (begin + length) % 1440)
    opens = window.opens(now)
    assert window.is_open(opens)
    assert opens - now <= timedelta(days=1)
    assert Window.parse(str(window)) == window


@pytest.mark.parametrize("text", ["", "22-5", "24:00-05:00", "22:00", "22:60-23:00", "22:00-22:00"])
def test_no_window(text: str) -> None:
    with pytest.raises(ConfigError):
        Window.parse(text)
