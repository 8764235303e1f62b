"""Families, as Prometheus reads them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from nbdtun.metrics.families import Asked, counter, gauge, histogram
from nbdtun.migration.tally import DURATIONS, Spread
from tests.metrics.stage import read


def test_one_value_or_several() -> None:
    assert read([gauge("links", "Links.", 3)]) == {"nbdtun_links": 3}
    rows = {("nbd", "sent"): 5, ("ram", "sent"): 7}
    assert read([counter("bytes", "Bytes.", rows, "target", "direction")]) == {
        'nbdtun_bytes_total{direction="sent",target="nbd"}': 5,
        'nbdtun_bytes_total{direction="sent",target="ram"}': 7,
    }


def test_they_are_made_when_they_are_asked_for() -> None:
    values = iter((1, 2))
    asked = Asked(lambda: [gauge("links", "Links.", next(values))])
    assert [read(asked.collect()) for _ in range(2)] == [{"nbdtun_links": 1}, {"nbdtun_links": 2}]
    assert repr(asked) == "<Asked, 1 sources>"


@given(some.lists(some.floats(0.0, 1e6)))
def test_a_histogram_is_cumulative(values: list[float]) -> None:
    spread = Spread(DURATIONS)
    for value in values:
        spread.note(value)
    found = read([histogram("migration_duration_seconds", "Seconds.", spread)])
    buckets = [value for name, value in found.items() if "_bucket" in name]
    assert all(less <= more for less, more in pairwise(buckets))
    assert found["nbdtun_migration_duration_seconds_count"] == buckets[-1] == len(values)
    assert found['nbdtun_migration_duration_seconds_bucket{le="3600.0"}'] == sum(value <= 3600 for value in values)


def test_what_a_label_says_breaks_no_line() -> None:
    assert read([gauge("channels", "Channels.", {('a"\n\\b',): 1}, "target")]) == {'nbdtun_channels{target="a"\n\\b"}': 1}
