"""Statistics of samples: the median and its range, and rows in the order in which they came."""

from __future__ import annotations

from bench.samples import Sample, Samples, Spread


def sample(subject: str, number: int, setting: str = "", **figures: float) -> Sample:
    return Sample("compare", subject, number, figures, setting)


def test_a_spread_is_the_median_with_the_least_and_the_most() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert Spread.of([4.0, 2.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([]) is None


def test_a_figure_is_taken_from_its_subject_and_setting_only() -> None:
    samples = Samples([sample("a", 1, rate=1), sample("b", 1, rate=100), sample("a", 2, rate=3), sample("a", 1, "8 channels", rate=50)])
    assert samples.spread("compare", "a", "rate") == Spread(2, 1, 3)
    assert samples.median("compare", "a", "rate", "8 channels") == 50
    assert samples.median("scaling", "a", "rate") is None


def test_a_figure_that_a_subject_lacks_is_none() -> None:
    samples = Samples([sample("direct", 1, rate=1), sample("direct", 2, rate=1)])
    assert samples.spread("compare", "direct", "cpu") is None


def test_rows_are_in_the_order_of_the_first_round() -> None:
    samples = Samples([sample("a", 1), sample("b", 1), sample("b", 2), sample("a", 2)])
    assert samples.rows("compare") == [("a", ""), ("b", "")]


def test_a_subject_whose_first_round_failed_comes_last() -> None:
    samples = Samples([sample("b", 1), sample("a", 2), sample("b", 2)])
    assert samples.rows("compare") == [("b", ""), ("a", "")]


def test_rows_of_one_setting_stand_together() -> None:
    samples = Samples([sample("a", 1, "1"), sample("a", 1, "8"), sample("b", 1, "1"), sample("b", 1, "8")])
    assert samples.rows("compare") == [("a", "1"), ("b", "1"), ("a", "8"), ("b", "8")]
