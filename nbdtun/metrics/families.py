"""
Metric families, made of values that are known when Prometheus asks.

Names and units follow https://prometheus.io/docs/practices/naming: base units, ``_total`` for what only grows. No label has values of a
peer's choosing, or as many as there are migrations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from math import inf
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from nbdtun.migration.tally import Spread

#: Each name begins with it.
PREFIX: Final = "nbdtun_"

#: By the values of a family's labels, a tuple of texts, the value that belongs to them.
Rows = Mapping[Any, float]


class Asked(Collector):
    """Collects what ``families`` yields, each time that it is asked."""

    def __init__(self, *families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def __repr__(self) -> str:
        return f"<Asked, {len(self._families)} sources>"

    def collect(self) -> Iterator[Metric]:
        """What there is now."""
        for each in self._families:
            yield from each()


def gauge(name: str, text: str, value: float | Rows, *labels: str) -> Metric:
    """A value that goes up and down; or several, by ``labels``."""
    return _with_rows(GaugeMetricFamily(f"{PREFIX}{name}", text, labels=labels), value)


def counter(name: str, text: str, value: float | Rows, *labels: str) -> Metric:
    """A value that only grows, while the process lives; its name ends with ``_total``."""
    return _with_rows(CounterMetricFamily(f"{PREFIX}{name}", text, labels=labels), value)


def _with_rows(family: GaugeMetricFamily | CounterMetricFamily, value: float | Rows) -> Metric:
    for labels, each in (value if isinstance(value, Mapping) else {(): value}).items():
        family.add_metric(labels, each)
    return family


def histogram(name: str, text: str, spread: Spread) -> Metric:
    """How many values were at most each bound."""
    bounds = map(floatToGoString, (*spread.bounds, inf))
    buckets = [*zip(bounds, accumulate(spread.counts), strict=True)]
    return HistogramMetricFamily(f"{PREFIX}{name}", text, buckets=buckets, sum_value=spread.sum)
