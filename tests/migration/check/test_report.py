"""What ``nbdtun check --json`` prints: the fields that programs read, and how exact their figures are."""

from __future__ import annotations

import json

from nbdtun.migration.check.activity import Activity
from nbdtun.migration.check.forecast import Load, Path, forecast
from nbdtun.migration.check.report import Measured, Report
from nbdtun.migration.finding import Finding, Level


def test_what_was_not_measured_is_null() -> None:
    report = Report("web1", Level.FAILURE, (Finding(Level.FAILURE, "source", "nobody listens there"),))
    told = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert set(told) == {"vm", "level", "findings", "measured", "forecast"}
    assert (told["vm"], told["level"], told["forecast"]) == ("web1", "failure", None)
    assert told["measured"] == dict.fromkeys(("round_trip", "throughput", "clock", "dirty_rate", "write_rate"))
    assert [finding["check"] for finding in told["findings"]] == ["source"]


def test_figures_are_no_more_exact_than_they_are() -> None:
    measured = Measured(round_trip=0.00012345678, throughput=1e9 / 3, clock=-1.23456, activity=Activity(2.5e6 + 0.4, 1000.6))
    assert measured.as_json() == {
        "round_trip": 0.000123,
        "throughput": 333333333,
        "clock": -1.235,
        "dirty_rate": 2500000,
        "write_rate": 1001,
    }


def test_a_clock_is_never_minus_nothing() -> None:
    assert str(Measured(clock=-0.0001).as_json()["clock"]) == "0.0"


def test_what_follows_from_it() -> None:
    expected = forecast(Load(disks=10**9, memory=10**9), Path(rate=1e8))
    report = Report("web1", Level.OK, (), Measured(throughput=1e8), expected)
    assert report.as_json()["forecast"] == expected.as_json()
