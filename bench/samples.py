"""Samples: what every measure yields, and the statistics that are made of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Sample:
    """The figures of one subject in one round."""

    measure: str
    subject: str
    """Whose figures they are: a peer's name."""
    round: int
    figures: Mapping[str, float]
    """By name; the name ends with the unit."""
    setting: str = ""
    """Under which condition, where a measure has several: `8 channels`."""


@dataclass(frozen=True)
class Spread:
    """The median of a figure over the rounds, with the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self | None:
        """None of no values."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known)) if known else None


class Samples(list[Sample]):
    """All that was measured so far, in that order."""

    def rows(self, measure: str) -> list[tuple[str, str]]:
        """The subjects and settings that a measure has samples of, each once; by setting, then as the first round had them."""
        first = [sample for sample in self if sample.measure == measure]
        settings = list(dict.fromkeys(sample.setting for sample in first))
        rows = dict.fromkeys((sample.subject, sample.setting) for sample in sorted(first, key=lambda sample: sample.round))
        return sorted(rows, key=lambda row: settings.index(row[1]))

    def by_round(self, measure: str, subject: str, figure: str, setting: str = "") -> dict[int, float]:
        """A figure in each round in which it was measured."""
        wanted = (measure, subject, setting)
        found = (sample for sample in self if (sample.measure, sample.subject, sample.setting) == wanted)
        return {sample.round: sample.figures[figure] for sample in found if figure in sample.figures}

    def spread(self, measure: str, subject: str, figure: str, setting: str = "") -> Spread | None:
        """A figure over all rounds; None if it was not measured."""
        return Spread.of(self.by_round(measure, subject, figure, setting).values())

    def median(self, measure: str, subject: str, figure: str, setting: str = "") -> float | None:
        """The middle of a figure over all rounds; None if it was not measured."""
        spread = self.spread(measure, subject, figure, setting)
        return spread.median if spread else None
