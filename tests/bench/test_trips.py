"""The parts of a pause, by when each began."""

from __future__ import annotations

import pytest

from bench.measures.trips import LENGTH, PARTS, parts_of


def test_the_parts_are_the_whole() -> None:
    figures = parts_of([1000.0, 1000.06, 1000.13, 1000.17, 1000.23])
    assert [figures[f"{part}_ms"] for part in PARTS] == pytest.approx([60, 70, 40, 60])
    assert figures["downtime_ms"] == pytest.approx(230)
    assert figures["trips"] * LENGTH.round_trip_ms == pytest.approx(230)
