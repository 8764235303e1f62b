"""What helps a migration to its end, on paper: a guest that writes, or dirties its memory, for as long as it is let."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from nbdtun.errors import ConfigError, Stalled, TimedOut
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.settings import MigrationSettings, Strategy
from nbdtun.migration.supervision.convergence import Trend
from nbdtun.migration.timeouts import OnTimeout, Timeouts
from tests.migration.stage.stage import Stage

FORCE = Timeouts(total=30.0, on_timeout=OnTimeout.FORCE)


def staged(*, changes: bool = True, **flags: bool) -> Stage:
    stage = Stage()
    for name, value in flags.items():
        setattr(stage.source, name, value)
    if changes:
        stage.source.more.add("block-job-change")
    return stage


def assert_moved(stage: Stage, outcome: Any) -> None:
    assert isinstance(outcome, Progress), outcome
    assert stage.running() == ["web1 at the destination"]
    assert stage.leftovers() == []


def assert_stayed(stage: Stage, outcome: Any, error: type[BaseException]) -> None:
    assert isinstance(outcome, error), outcome
    assert stage.running() == ["web1"]
    assert stage.leftovers() == []
    assert stage.source.parameters == {"max-bandwidth": 128 << 20, "downtime-limit": 300, "multifd-channels": 2}


@pytest.mark.parametrize("load", ["writes", "dirties"])
def test_without_help_time_ends_it(load: str) -> None:
    stage = staged(**{load: True})
    outcome = stage.outcome(stage.start(timeouts=Timeouts(total=60.0)))
    assert_stayed(stage, outcome, TimedOut)
    assert stage.reports[-1].code == "timeout"
    assert_moved(stage, stage.outcome(again(stage)))


def again(stage: Stage) -> Any:
    stage.source.writes = stage.source.dirties = False
    stage.new_destination()
    return stage.start()


def test_a_disk_that_lags_is_told_and_made_to_wait_only_if_asked() -> None:
    stage = staged(writes=True)
    outcome = stage.outcome(stage.start(timeouts=Timeouts(total=60.0)))
    assert_stayed(stage, outcome, TimedOut)
    assert any(report.converge.lagging == ("vda",) for report in stage.reports)
    assert set(stage.source.modes.values()) == {"background"}


def test_a_mirror_is_changed_once_it_lags() -> None:
    stage = staged(writes=True)
    assert_moved(stage, stage.outcome(stage.start(converge=frozenset({Strategy.WRITE_BLOCKING}))))
    mirroring = [report.converge for report in stage.reports if report.phase is Phase.MIRROR]
    assert mirroring[0].write_blocking == ()
    assert mirroring[-1].write_blocking == ("vda",)
    assert stage.reports[-1].converge.lagging == ()


def test_a_mirror_that_is_ready_is_changed_before_the_memory_is_sent() -> None:
    stage = staged()
    assert_moved(stage, stage.outcome(stage.start(converge=frozenset({Strategy.WRITE_BLOCKING}))))
    asked = stage.source.asked
    assert asked.index("block-job-change") < asked.index("migrate")


def test_a_qemu_that_cannot_change_it_begins_so() -> None:
    stage = staged(changes=False, writes=True)
    assert_moved(stage, stage.outcome(stage.start(converge=frozenset({Strategy.WRITE_BLOCKING}))))
    assert "block-job-change" not in stage.source.asked
    assert set(stage.source.modes.values()) == {"write-blocking"}
    assert stage.reports[-1].converge.write_blocking == ("vda",)


def test_auto_converge_is_a_capability_for_as_long_as_it_is_needed() -> None:
    stage = staged(dirties=True)
    assert_moved(stage, stage.outcome(stage.start(converge=frozenset({Strategy.AUTO_CONVERGE}), keep_source=True)))
    assert max(report.converge.throttle for report in stage.reports) == 20
    assert max(report.converge.passes for report in stage.reports) > 2
    assert not stage.source.capabilities["auto-converge"]


def test_the_downtime_is_raised_in_steps_and_not_beyond_its_bound() -> None:
    stage = staged(dirties=True)
    running = stage.start(converge=frozenset({Strategy.DOWNTIME}), max_downtime=0.9, timeouts=Timeouts(total=100.0))
    stage.turn(90)
    steps = [report.converge.downtime for report in stage.reports]
    assert list(dict.fromkeys(steps)) == [None, 0.6, 0.9]
    assert_stayed(stage, stage.outcome(running), TimedOut)


def test_a_longer_downtime_is_enough() -> None:
    stage = staged(dirties=True)
    assert_moved(stage, stage.outcome(stage.start(converge=frozenset({Strategy.DOWNTIME}))))
    assert stage.reports[-1].converge.downtime == 1.2


def test_a_bound_that_bounds_nothing() -> None:
    with pytest.raises(ConfigError, match="max downtime, 5 s, must exceed the downtime, 6 s"):
        MigrationSettings(vm="web1", downtime=6.0, converge=frozenset({Strategy.DOWNTIME}))


@pytest.mark.parametrize("load", ["writes", "dirties"])
def test_it_is_forced(load: str) -> None:
    stage = staged(**{load: True})
    last = stage.outcome(stage.start(timeouts=FORCE))
    assert_moved(stage, last)
    assert isinstance(last, Progress)
    assert last.converge.forced
    assert last.downtime_ms is not None
    assert last.downtime_ms > (2000 if load == "writes" else 50)  # from when it was forced


@pytest.mark.parametrize("load", ["writes", "dirties"])
def test_a_forced_one_runs_on_when_it_is_cancelled(load: str) -> None:
    stage = staged(**{load: True})
    running = stage.start(timeouts=FORCE)
    while "stop" not in stage.source.asked:
        stage.turn(0.001)
    stage.turn(0.005)
    assert stage.running() == []
    assert stage.migration.cancel()
    assert_stayed(stage, stage.outcome(running), CancelledError)


def test_one_that_hangs_is_a_stall() -> None:
    stage = staged(stuck=True)
    assert_stayed(stage, stage.outcome(stage.start(timeouts=Timeouts(stall=20.0))), Stalled)


def test_one_that_zeroes_its_target_first_is_not() -> None:
    stage = staged(stuck=True)
    running = stage.start(timeouts=Timeouts(stall=20.0))
    for _ in range(60):
        stage.source.reach += 1 << 20
        stage.turn(1)
    assert stage.reports[-1].phase is Phase.MIRROR
    assert_stayed(stage, stage.outcome(running), Stalled)


def test_bandwidth_and_downtime_change_while_it_runs() -> None:
    stage = staged(dirties=True)
    running = stage.start(bandwidth=1000)
    stage.turn(20, until=Phase.MIRROR)
    stage.turn(0.5)
    do(stage, stage.migration.budget.set_bandwidth(2000))
    assert [job["speed"] for job in stage.source.jobs.values()] == [2000]
    stage.turn(20, until=Phase.RAM)
    stage.turn(1)
    assert stage.source.parameters == {"max-bandwidth": 2000, "downtime-limit": 300, "multifd-channels": 2}
    do(stage, stage.migration.budget.set_bandwidth(None))
    assert stage.source.parameters["max-bandwidth"] == 1 << 50
    do(stage, stage.migration.budget.set_downtime(1.0))
    assert_moved(stage, stage.outcome(running))
    assert not stage.migration.under_way


def do(stage: Stage, change: Coroutine[Any, Any, None]) -> None:
    done: list[Any] = []
    Deferred.fromCoroutine(change).addBoth(done.append)
    stage.turn(0.1)
    assert done == [None]


def test_a_trend() -> None:
    trend = Trend()
    assert not trend.update(0, 0, 100)
    assert not trend.update(5, 10, 90)
    assert not trend.update(14, 50, 95)
    assert trend.update(15, 60, 90)
    assert repr(trend) == "<Trend lagging, 90 left at best>"
    assert not trend.update(16, 61, 89)


def test_what_does_not_move_at_all_does_not_lag() -> None:
    trend = Trend()
    assert not any(trend.update(now, 10, 90) for now in range(100))
