"""A guest that is paused early: its operator reads why, and a roll-back lets it run on."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from nbdtun.migration.ids import JOURNAL
from nbdtun.migration.progress import GuestState, Phase
from nbdtun.migration.rollback.journal import Entry
from nbdtun.migration.timeouts import OnTimeout, Timeouts
from tests.migration.stage.stage import Stage


@pytest.mark.parametrize("paused", [False, True])
def test_a_process_that_is_killed_leaves_word_that_it_is_to_run_on(paused: bool) -> None:
    stage = Stage()
    stage.source.state, stage.source.stuck = "paused" if paused else "running", True
    migration = stage.start(timeouts=Timeouts(phases={Phase.MIRROR: 5.0}, on_timeout=OnTimeout.FORCE))
    stage.turn(60, until=Phase.MIRROR)
    stage.turn(10)
    assert stage.reports[-1].converge.forced
    assert Entry.parse(stage.source.objects[JOURNAL]).forced is not paused
    if not paused:
        last = len(stage.source.asked) - stage.source.asked[::-1].index("stop")
        assert stage.source.asked[last - 2] == "qom-set"  # before it, and nothing else between them
    migration.cancel()
    assert isinstance(stage.outcome(migration), CancelledError)


@pytest.mark.parametrize("phase", [Phase.MIRROR, Phase.RAM])
def test_it_is_paused_is_told_and_runs_on_after_a_roll_back(phase: Phase) -> None:
    stage = Stage()
    if phase is Phase.MIRROR:
        stage.source.stuck = True
    else:
        stage.source._pause = lambda: None  # type: ignore[method-assign]
    migration = stage.start(timeouts=Timeouts(phases={phase: 5.0}, on_timeout=OnTimeout.FORCE))
    stage.turn(60, until=phase)
    stage.turn(10)
    assert stage.source.state == "paused"
    assert (stage.reports[-1].converge.forced, stage.reports[-1].guest) == (True, GuestState.PAUSED)
    migration.cancel()
    assert isinstance(stage.outcome(migration), CancelledError)
    assert stage.running() == ["web1"]
