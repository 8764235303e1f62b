"""How time limits, rates and strategies are written, for the command and the daemon alike."""

from __future__ import annotations

import pytest

from nbdtun.config.timeouts import make_timeouts, parse_any_rate, parse_limit, parse_on_timeout, parse_strategies, parse_timeout
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import Strategy
from nbdtun.migration.timeouts import DEFAULTS, OnTimeout, Timeouts
from tests.config.stage import refused


def test_no_limit_has_a_word() -> None:
    assert parse_limit("5min") == 300.0
    assert parse_limit(" none ") is None
    assert "'never' is not a duration" in refused(parse_limit, "never")
    assert "'' is not a duration" in refused(parse_limit, "")


def test_no_limit_of_bandwidth_is_the_word_and_not_a_zero() -> None:
    assert parse_any_rate("500MiB/s") == 500 << 20
    assert parse_any_rate("none") == 0
    assert refused(parse_any_rate, "0") == "bandwidth must be more than 0; for no limit, give none"
    assert "'fast' is not a rate" in refused(parse_any_rate, "fast")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("2h", (None, 7200.0)),
        ("none", (None, None)),
        ("mirror=90s", (Phase.MIRROR, 90.0)),
        ("ready=none", (Phase.READY, None)),
    ],
)
def test_a_timeout(text: str, limit: tuple[Phase | None, float | None]) -> None:
    assert parse_timeout(text) == limit


@pytest.mark.parametrize("name", ["completed", "finish", "", "mirror=ready"])
def test_a_timeout_of_what_has_none(name: str) -> None:
    told = refused(parse_timeout, f"{name}=1s")
    assert told == f"{name!r} is not a phase with a time limit; use one of {', '.join(phase.value for phase in DEFAULTS)}"


@pytest.mark.parametrize("text", ["", "mirror=", "mirror=soon", "=1s"])
def test_what_is_no_timeout(text: str) -> None:
    refused(parse_timeout, text)


def test_strategies() -> None:
    assert parse_strategies("write-blocking,auto-converge") == {Strategy.WRITE_BLOCKING, Strategy.AUTO_CONVERGE}
    assert parse_strategies("downtime,downtime") == {Strategy.DOWNTIME}
    for text, wrong in (("hope", "hope"), ("", ""), ("downtime,", ""), ("downtime, auto-converge", " auto-converge")):
        assert refused(parse_strategies, text).startswith(f"{wrong!r} is not a way to converge; ")


def test_what_is_not_given_keeps_its_limit() -> None:
    assert make_timeouts([], 300.0, OnTimeout.CANCEL) == Timeouts(phases={}, total=None, stall=300.0, on_timeout=OnTimeout.CANCEL)


def test_what_is_given_twice_counts_the_last_time() -> None:
    given = [(None, 5.0), (Phase.MIRROR, 1.0), (Phase.MIRROR, None), (None, 9.0)]
    assert make_timeouts(given, None, OnTimeout.FORCE) == Timeouts(
        phases={Phase.MIRROR: None}, total=9.0, stall=None, on_timeout=OnTimeout.FORCE
    )


def test_a_limit_that_cannot_be() -> None:
    assert refused(make_timeouts, [(None, 0.0)], None, OnTimeout.CANCEL) == "total timeout must be more than 0, not 0"


def test_what_a_time_limit_does() -> None:
    assert parse_on_timeout("force") is OnTimeout.FORCE
    assert refused(parse_on_timeout, "wait") == "'wait' is not a choice; use one of cancel, force"
