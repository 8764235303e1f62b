"""How many migrations have ended, how, and how long they took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from nbdtun.migration.tally import DOWNTIMES, Spread, Tally


def test_each_end_is_counted() -> None:
    tally = Tally()
    tally.end("completed", "settle", 42.0)
    tally.end("failed", "mirror", 2.0)
    tally.end("failed", "mirror", 3.0)
    assert tally.ended == {("completed", "settle"): 1, ("failed", "mirror"): 2}
    assert (sum(tally.durations.counts), tally.durations.sum) == (3, 47.0)
    assert repr(tally) == "<Tally of 3 migrations>"


def test_two_are_added() -> None:
    one, other = Tally(), Tally()
    one.end("completed", "settle", 42.0)
    one.downtimes.note(0.2)
    other.end("completed", "settle", 2.0)
    both = one + other
    assert both.ended == {("completed", "settle"): 2}
    assert (both.durations.sum, sum(both.durations.counts), both.downtimes.sum) == (44.0, 2, 0.2)
    assert one.ended.total() == 1  # as before


def test_a_bound_belongs_to_what_it_bounds() -> None:
    """As Prometheus has it: ``le`` is less or equal."""
    spread = Spread((1.0, 5.0))
    for value in (0.0, 1.0, 1.1, 5.0, 5.1):
        spread.note(value)
    assert spread.counts == [2, 2, 1]


@given(some.lists(some.floats(0.0, 1e6)))
def test_no_value_is_lost(values: list[float]) -> None:
    spread = Spread(DOWNTIMES)
    for value in values:
        spread.note(value)
    assert sum(spread.counts) == len(values)
    below = 0
    for bound, count in zip(spread.bounds, spread.counts, strict=False):
        below += count
        assert below == sum(value <= bound for value in values)
