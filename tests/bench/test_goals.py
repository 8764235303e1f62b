"""Goals: ratios of medians, and what is said of them."""

from __future__ import annotations

import pytest

from bench.goals import GOALS, Goal, difference, median, quotient, ratio
from bench.measures.cores import OURS, PLAIN, RIVALS
from bench.measures.cores import SETTING as CORES
from bench.measures.distance import CASES
from bench.measures.guest import CASES as GUESTS
from bench.measures.metrics import CASES as METRICS_CASES
from bench.measures.moment import DISKS
from bench.measures.moment import setting as disks_of
from bench.measures.rationed import SETTING as RATION
from bench.measures.scaling import COUNTS, setting
from bench.measures.trips import LENGTH
from bench.samples import Sample, Samples


def rates(**rates: float) -> Samples:
    return Samples(Sample("compare", subject, 1, {"rate": rate}) for subject, rate in rates.items())


def test_a_ratio_is_against_the_best_of_the_others() -> None:
    value = ratio("compare", "rate", "ours", "slow", "quick", "missing")
    assert value(rates(ours=300, slow=100, quick=200)) == 1.5


@pytest.mark.parametrize("samples", [rates(ours=300), rates(slow=100), Samples()])
def test_without_either_there_is_no_ratio(samples: Samples) -> None:
    assert ratio("compare", "rate", "ours", "slow")(samples) is None


@pytest.mark.parametrize(
    ("value", "more_is_better", "verdict"),
    [
        (1.25, True, "aim reached"),
        (1.2, True, "aim reached"),
        (1.1, True, "reached"),
        (0.99, True, "MISSED"),
        (0.9, False, "aim reached"),
        (1.1, False, "reached"),
        (1.3, False, "MISSED"),
    ],
)
def test_the_verdict(value: float, more_is_better: bool, verdict: str) -> None:
    goal = Goal("rate", median("compare", "rate", "ours", ""), *((1.0, 1.2) if more_is_better else (1.2, 1.0)), more_is_better)
    outcome = goal.outcome(rates(ours=value))
    assert (outcome.value, outcome.verdict) == (value, verdict)


def test_a_goal_without_an_aim_is_reached_or_missed() -> None:
    goal = Goal("rate", median("compare", "rate", "ours", ""), 0.5)
    assert goal.outcome(rates(ours=2)).verdict == "reached"
    assert goal.outcome(Samples()).verdict == "not measured"


#: One millisecond apart.
BOTH = (("direct UNIX", 1.0), ("nbdtun migrate", 2.0))


def test_every_goal_is_of_a_figure_that_is_measured() -> None:
    """A typing error in a name would only show as `not measured`, after half an hour."""
    compared = ("socat -b 1048576", "stunnel", "ssh aes128-gcm", "haproxy TLS", "nbdtun plain", "nbdtun TLS")
    names = ("write_mb_s", "read_mb_s", "write_cpu_s_gb", "read_cpu_s_gb", "latency_us")
    samples = Samples(Sample("compare", subject, 1, dict.fromkeys(names, 1.0)) for subject in compared)
    for subject in ("direct UNIX", "nbdtun plain", "nbdtun TLS", "nbdtun migrate"):
        samples += [Sample("migration", subject, 1, {"wall_s": 1.0}, "4 GiB"), Sample("rationed", subject, 1, {"wall_s": 1.0}, RATION)]
    for subject in ("socat -b 1048576", "stunnel", "haproxy TLS", "nbdtun plain", "nbdtun TLS"):
        for where in (setting(count, apart) for count in COUNTS for apart in (False, True)):
            samples.append(Sample("scaling", subject, 1, {"total_mb_s": 1.0, "least_share": 1.0}, where))
    for subject in ("nbdtun plain", "nbdtun TLS"):
        samples += [Sample("distance", subject, 1, {"share": 1.0}, f"{case}") for case in CASES]
    samples += [Sample("moment", name, 1, {"downtime_ms": ms}, disks_of(count)) for name, ms in BOTH for count in DISKS]
    samples += [Sample("trips", name, 1, {"trips": count}, f"{LENGTH}") for name, count in BOTH]
    samples += [Sample("metrics", f"{case}", 1, dict.fromkeys(names, 1.0)) for case in METRICS_CASES]
    samples += [Sample("guest", case.subject, 1, {"share": 1.0}, f"{case}") for case in GUESTS]
    samples += [Sample("cores", each.name, 1, {"total_mb_s": 1.0, "mb_cpu_s": 1.0}, CORES) for each in (*OURS, PLAIN, *RIVALS)]
    assert [goal.name for goal in GOALS if goal.outcome(samples).value != 1.0] == []


def test_a_quotient_is_of_those_of_one_round() -> None:
    rounds = [(1, 10.0, 20.0), (2, 50.0, 55.0), (3, 11.0, 22.0)]
    samples = Samples(
        Sample("metrics", name, number, {"rate": rate}) for number, *both in rounds for name, rate in zip(("off", "on"), both, strict=True)
    )
    assert quotient("metrics", "rate", "on", "off")(samples) == 2.0
    assert quotient("metrics", "rate", "on", "other")(samples) is None


def test_a_difference_is_between_those_of_one_round() -> None:
    rounds = [(1, 10.0, 20.0), (2, 50.0, 58.0), (3, 11.0, 23.0)]
    samples = Samples(
        Sample("moment", name, number, {"ms": ms}, "1 disk")
        for number, *both in rounds
        for name, ms in zip(("direct", "ours"), both, strict=True)
    )
    assert difference("moment", "ms", "ours", "direct", "1 disk")(samples) == 10.0
    assert difference("moment", "ms", "ours", "other", "1 disk")(samples) is None
