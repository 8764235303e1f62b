"""Between the handover and the end: the guest runs at the destination, and is watched for a while."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import GuestLost, OutcomeUnknown
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.source import migration as module
from nbdtun.migration.source.switchover import Switchover
from nbdtun.migration.supervision.meter import Meter
from tests.migration.stage.stage import Stage
from tests.migration.stage.verdicts import assert_moved


def crash(stage: Stage) -> None:
    stage.destination.heard("GUEST_PANICKED", {"action": "pause"})


def shut_down(stage: Stage) -> None:
    stage.destination.heard("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    stage.destination.die()


def stand_still(stage: Stage) -> None:
    stage.destination.state = "io-error"
    stage.destination.tell("STOP")


DEATHS: dict[str, Callable[[Stage], None]] = {
    "the guest has crashed": crash,
    "the guest has shut down by itself": shut_down,
    "a disk has failed or is full": stand_still,
    "its QEMU has ended": lambda stage: stage.destination.die(),
}


@pytest.mark.parametrize("why", DEATHS)
def test_a_guest_that_is_lost_at_the_destination_is_still_at_the_source(why: str) -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.SETTLE)
    DEATHS[why](stage)
    error = stage.outcome(migration)
    assert isinstance(error, GuestLost)
    assert why in str(error)
    assert stage.reports[-1].phase is Phase.LOST
    assert stage.reports[-1].code == "guest-lost"
    assert stage.source.state == "postmigrate"
    assert not any(stage.source.capabilities.values())
    assert list(stage.source.objects) == ["nbdtun-journal"]


@pytest.mark.bug
@pytest.mark.parametrize("step", ["pause", "paused", "arrived", "ask"])
def test_a_fault_of_our_own_behind_the_handover_lets_no_second_copy_run(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    owner = {"pause": Switchover, "paused": Meter, "arrived": Meter, "ask": module}[step]
    monkeypatch.setattr(owner, step, stumble)
    stage = Stage()
    error = stage.outcome(stage.start())
    assert isinstance(error, OutcomeUnknown)
    assert "web1 was handed over, but it is unknown whether it runs at the destination (a bug in nbdtun: TypeError('a bug'))" in str(error)
    assert (stage.source.state, stage.destination.state) == ("postmigrate", "running")


def test_an_operator_pauses_it_while_it_settles() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.SETTLE)
    stage.destination.stop()
    assert isinstance(stage.outcome(migration), Progress)
    assert (stage.source.alive, stage.destination.state) == (False, "paused")


def test_a_destination_that_cannot_be_asked_any_more_leaves_it_open() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.SETTLE)
    stage.reachable = False
    stage.cut()
    assert isinstance(stage.outcome(migration), OutcomeUnknown)
    assert stage.source.state == "postmigrate"


def test_a_link_that_is_lost_while_it_settles_costs_nothing() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.SETTLE)
    stage.reachable = False
    stage.cut()
    stage.turn(20)
    stage.reachable = True
    assert_moved(stage, stage.outcome(migration))


def test_a_daemon_that_is_stopped_while_it_settles_answers_first() -> None:
    stage = Stage()
    migration = stage.start(settle=300)
    stage.turn(60, until=Phase.SETTLE)
    stage.turn(1)
    stopped = Deferred.fromCoroutine(stage.daemon.stop())
    stage.turn(1)
    assert stopped.called
    assert_moved(stage, stage.outcome(migration, 5))


def test_it_cannot_be_cancelled_while_it_settles() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.SETTLE)
    assert not stage.migration.cancel()
    assert_moved(stage, stage.outcome(migration))
