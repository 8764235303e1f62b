"""Round trips of a pause: whole ones and halves, as a crossing is half of one."""

from __future__ import annotations

import pytest

from bench.line import Length
from bench.measures.trips import trips


@pytest.mark.parametrize(("pause", "count"), [(0, 0), (90, 0), (110, 0.5), (390, 1), (1230, 3), (1300, 3), (1301, 3.5)])
def test_they_are_counted_in_halves(pause: float, count: float) -> None:
    assert trips(pause, Length(400)) == count
