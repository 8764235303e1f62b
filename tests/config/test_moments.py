"""The moment of a switchover, as it is typed: by the operator's own clock, and always ahead."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.config.moments import parse_moment
from tests.config.stage import refused

EVENING = datetime(2026, 12, 23, 22, 30)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("02:00", datetime(2026, 12, 24, 2, 0)),
        ("22:31", datetime(2026, 12, 23, 22, 31)),
        ("22:30", datetime(2026, 12, 24, 22, 30)),  # just now is over
        (" 23:00:05 ", datetime(2026, 12, 23, 23, 0, 5)),
        ("2027-01-02T03:04", datetime(2027, 1, 2, 3, 4)),
        ("2027-01-02 03:04", datetime(2027, 1, 2, 3, 4)),
    ],
)
def test_a_moment(text: str, moment: datetime) -> None:
    assert parse_moment(text, EVENING) == moment.timestamp()


def test_now() -> None:
    assert parse_moment("now") == 0


@given(st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)), st.times())
def test_a_time_of_day_is_the_next_one(present: datetime, wanted: object) -> None:
    text = f"{wanted:%H:%M:%S}"
    found = datetime.fromtimestamp(parse_moment(text, present))
    assert present < found <= present + timedelta(days=1, hours=1)  # an hour may be there twice


def test_what_is_none() -> None:
    for text in ("", "soon", "25:00", "2", "02.00", "2026-12-24", "-1:00", "02:00 tomorrow"):
        assert refused(parse_moment, text, EVENING) == f"{text!r} is not a moment such as 02:00, 2026-12-24T02:00 or now"
    over = "'2026-12-23T22:00' is over; for a switchover as soon as possible, give now"
    assert refused(parse_moment, "2026-12-23T22:00", EVENING) == over
