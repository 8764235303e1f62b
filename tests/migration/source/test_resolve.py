"""`--resolve` on paper: what the source makes of the destination's answer."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import GuestLost, LinkLost, MigrationError, MonitorError, NbdtunError, NotMigratable, OutcomeUnknown
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.rollback.presence import Presence
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.resolve import Resolution
from tests.migration.stage.left import BEFORE, HANDED, Scene


def resolve(scene: Scene, **settings: Any) -> Any:
    carrier: Any = scene
    resolution = Resolution(
        scene.clock, scene.qemu, carrier, MigrationSettings(vm="web1", **settings), lambda progress: None, scene.clock.seconds
    )
    got: list[Any] = []
    Deferred.fromCoroutine(resolution.run()).addCallbacks(got.append, lambda failure: got.append(failure.value))
    scene.clock.pump([0.05] * 100)
    return got[0]


def open_ended(outcome: str | NbdtunError, **changed: Any) -> Scene:
    scene = Scene("postmigrate", "completed", outcome, **HANDED | changed)
    scene.tune()
    scene.link = None  # type: ignore[attr-defined]
    return scene


def test_it_has_arrived_and_the_source_is_ended() -> None:
    scene = open_ended("arrived")
    last = resolve(scene)
    assert isinstance(last, Progress)
    assert last.phase is Phase.COMPLETED
    assert not scene.qemu.alive


def test_it_has_arrived_and_the_source_is_kept() -> None:
    scene = open_ended("arrived")
    assert isinstance(resolve(scene, keep_source=True), Progress)
    assert scene.qemu.state == "postmigrate"
    assert scene.is_clean()


def test_one_that_has_arrived_and_does_not_end_here_is_tried_again() -> None:
    """Status 1 would say that the VM is here."""
    scene = open_ended("arrived")
    scene.qemu.fails["quit"] = MonitorError("web1: QEMU has not answered quit")
    assert isinstance(resolve(scene), OutcomeUnknown)
    scene.qemu.fails.clear()
    assert isinstance(resolve(scene), Progress)
    assert not scene.qemu.alive


@pytest.mark.parametrize("outcome", ["gone", "fresh"])
def test_it_never_will_and_runs_here_again(outcome: str) -> None:
    scene = open_ended(outcome)
    assert str(resolve(scene)) == "web1 did not arrive and never will; it runs at the source again"
    assert scene.qemu.state == "running"
    assert scene.is_clean()


def test_one_that_is_lost_there_stays_paused_here() -> None:
    scene = open_ended("lost")
    assert isinstance(resolve(scene), GuestLost)
    assert scene.qemu.state == "postmigrate"
    assert scene.qemu.objects


def test_an_outcome_that_there_is_not_lets_nothing_run() -> None:
    """A destination of a later version may have one that means something else than that the guest is not there."""
    scene = open_ended("perhaps")
    assert isinstance(resolve(scene), OutcomeUnknown)
    assert scene.qemu.state == "postmigrate"


def test_one_that_was_paused_before_is_paused_here_again() -> None:
    scene = open_ended("gone", runs=False)
    error = resolve(scene)
    assert isinstance(error, MigrationError)
    assert "it is paused at the source, as it was before" in str(error)
    assert scene.qemu.state == "postmigrate"
    assert scene.is_clean()


def test_without_a_journal_it_is_let_go_on() -> None:
    scene = open_ended("gone")
    scene.qemu.objects.clear()
    assert isinstance(resolve(scene), MigrationError)
    assert scene.answer.asked == [{"vm": "web1", "session": None, "secret": None, "downtime": None}]
    assert scene.qemu.state == "running"


def test_one_that_somebody_has_paused_here_is_not_told_to_run() -> None:
    """He was told that it runs at both ends."""
    scene = Scene("paused", "completed", "gone", **HANDED)
    scene.link = None  # type: ignore[attr-defined]
    assert str(resolve(scene)).endswith("it is paused at the source, as somebody has paused it; `cont` it")
    assert scene.qemu.state == "paused"


def test_nobody_can_tell_and_it_runs_here_by_now() -> None:
    scene = open_ended(LinkLost("no connection"))
    scene.let_go_on()
    error = resolve(scene)
    assert isinstance(error, OutcomeUnknown)
    assert "(no connection). The source RUNS: somebody has let" in str(error)


def test_nobody_can_tell() -> None:
    scene = open_ended(LinkLost("no connection"))
    assert isinstance(resolve(scene), OutcomeUnknown)
    assert scene.qemu.objects
    assert scene.qemu.state == "postmigrate"


@pytest.mark.parametrize(("state", "status"), [("running", "completed"), ("paused", "failed"), ("finish-migrate", "pre-switchover")])
def test_nothing_is_open(state: str, status: str) -> None:
    scene = Scene(state, status, **HANDED)
    error = resolve(scene)
    assert isinstance(error, NotMigratable)
    assert "there is nothing to resolve" in str(error)


def test_one_that_has_come_here_is_not_asked_for_elsewhere() -> None:
    """Its own source would say that it has arrived, and the guest would be ended here."""
    scene = Scene("paused", "completed", "arrived", end=End.DESTINATION, began=900.0, handed_over=True, **BEFORE | {"runs": False})
    scene.link = None  # type: ignore[attr-defined]
    assert "has arrived here, and was not handed over since; there is nothing to resolve" in str(resolve(scene))
    assert scene.answer.asked == []
    assert scene.qemu.alive


def test_one_that_lives_is_left_alone() -> None:
    scene = open_ended("gone")
    Presence(scene.left.name).acquire()
    assert "by another nbdtun (process " in str(resolve(scene))
    assert scene.answer.asked == []
