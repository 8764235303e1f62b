"""The moment of a switchover: it comes by itself, at a word, or not at all; it is told, and changed, as long as it is ahead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from nbdtun.errors import TooLate
from nbdtun.migration.progress import GuestState, Phase, Progress
from nbdtun.migration.settings import HOLD
from nbdtun.migration.supervision.moment import AGAIN_SECONDS, Moment
from nbdtun.migration.timeouts import Timeouts
from tests.migration.stage.stage import Stage

NOON = 1e9


class Waiting:
    """A moment that is waited for, by a clock that counts from noon, and may be set."""

    def __init__(self, at: float) -> None:
        self.clock = Clock()
        self.set = 0.0
        self.held: list[float | None] = []
        self.moment = Moment(self.clock, at, lambda: NOON + self.clock.seconds() + self.set)
        self.coming = Deferred.fromCoroutine(self.moment.come(self.held.append))

    def turn(self, seconds: float) -> bool:
        """Let time pass, as it does: a little at a time. Whether the moment has come."""
        while seconds > 0 and not self.coming.called:
            self.clock.advance(min(seconds, 1))
            seconds -= 1
        return bool(self.coming.called)


@pytest.mark.parametrize("at", [0.0, NOON - 1, NOON])
def test_one_that_is_over_is_not_waited_for(at: float) -> None:
    waiting = Waiting(at)
    assert (waiting.coming.called, waiting.held, waiting.moment.ahead) == (True, [], False)


def test_a_time_of_day() -> None:
    waiting = Waiting(NOON + 100)
    assert not waiting.turn(99)
    assert waiting.moment.ahead
    assert waiting.turn(1)
    assert set(waiting.held) == {NOON + 100}
    assert not waiting.clock.getDelayedCalls()


def test_a_word() -> None:
    waiting = Waiting(HOLD)
    assert not waiting.turn(10_000)
    assert set(waiting.held) == {None}
    waiting.moment.choose(0)
    assert waiting.coming.called
    assert not waiting.clock.getDelayedCalls()


def test_another_time_and_another_word() -> None:
    waiting = Waiting(HOLD)
    waiting.moment.choose(NOON + 50)
    assert waiting.held == [None, NOON + 50]
    waiting.moment.choose(HOLD)
    assert not waiting.turn(100)
    waiting.moment.choose(NOON + 99)
    assert waiting.coming.called


def test_one_is_chosen_before_it_is_waited_for() -> None:
    moment = Moment(Clock(), wall=lambda: NOON)
    assert moment.ahead
    moment.choose(0)
    assert not moment.ahead
    moment.choose(NOON + 1)
    assert moment.ahead


def test_a_clock_that_is_set_is_noticed() -> None:
    waiting = Waiting(NOON + 7200)
    waiting.set = 7200
    assert waiting.turn(AGAIN_SECONDS)
    waiting = Waiting(NOON + 60)
    waiting.set = -7200
    assert not waiting.turn(7000)


def test_it_does_not_come_again() -> None:
    waiting = Waiting(0)
    waiting.moment.choose(NOON - 5)
    with pytest.raises(TooLate, match="it switches over already"):
        waiting.moment.choose(NOON + 1)
    assert not waiting.moment.ahead


def test_a_wait_that_is_given_up_leaves_nothing() -> None:
    waiting = Waiting(HOLD)
    waiting.coming.addErrback(lambda failure: failure.trap(CancelledError))
    waiting.coming.cancel()
    assert not waiting.clock.getDelayedCalls()
    waiting.moment.choose(0)


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([0.0, 20.0, 200.0, HOLD])), max_size=8))
def test_it_never_comes_before_the_latest_word(words: list[tuple[float, float]]) -> None:
    waiting = Waiting(HOLD)
    latest = HOLD
    for seconds, later in words:
        came = waiting.turn(seconds)
        now = NOON + waiting.clock.seconds()
        assert came == (latest <= now)
        if came:
            return
        latest = now + later
        waiting.moment.choose(latest)


def held(**settings: object) -> tuple[Stage, Deferred[Progress]]:
    """A whole migration on paper that is held."""
    stage = Stage()
    migration = stage.start(**{"switchover": HOLD, **settings})
    stage.turn(10_000)
    assert (stage.reports[-1].phase, stage.reports[-1].guest) == (Phase.HOLDING, GuestState.RUNS)
    assert stage.running() == ["web1"]
    return stage, migration


def test_a_migration_is_held_and_goes_on() -> None:
    stage, migration = held(timeouts=Timeouts(total=60.0))
    assert stage.reports[-1].switchover_at is None
    stage.migration.moment.choose(1e9 + stage.clock.seconds() + 100)
    stage.turn(2)
    assert stage.reports[-1].switchover_at == 1e9 + 10_100
    last = stage.outcome(migration)
    assert isinstance(last, Progress)
    assert last.elapsed > 10_100
    assert stage.running() == ["web1 at the destination"]
    assert stage.leftovers() == []


def test_a_migration_that_is_held_can_be_cancelled() -> None:
    stage, migration = held()
    migration.cancel()
    assert isinstance(stage.outcome(migration), CancelledError)
    assert (stage.running(), stage.leftovers()) == (["web1"], [])


def test_a_migration_that_is_held_ends_with_its_guest() -> None:
    stage, migration = held()
    stage.source.heard("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    assert "the guest has shut down" in str(stage.outcome(migration))


def test_a_limit_may_be_set_to_the_hold() -> None:
    stage = Stage()
    migration = stage.start(switchover=HOLD, timeouts=Timeouts(phases={Phase.HOLDING: 600.0}))
    assert "phase holding took longer than 10 min (--timeout holding=)" in str(stage.outcome(migration))
    assert (stage.running(), stage.leftovers()) == (["web1"], [])


def test_a_moment_that_is_over_when_all_is_copied_holds_nothing() -> None:
    stage = Stage()
    assert isinstance(stage.outcome(stage.start(switchover=1e9 + 0.5)), Progress)
    assert Phase.HOLDING not in {report.phase for report in stage.reports}
