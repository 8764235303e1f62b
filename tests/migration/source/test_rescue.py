"""`--recover` on paper: a killed migration is ended, and no other is begun."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import LinkLost, MigrationError, MonitorError, OutcomeUnknown
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.rescue import Rescue
from tests.migration.stage.left import BEFORE, HANDED, SENDING, Scene


def rescue(scene: Scene, **settings: Any) -> Any:
    carrier: Any = scene
    scene.link = None  # type: ignore[attr-defined]
    made = Rescue(scene.clock, scene.qemu, carrier, MigrationSettings(vm="web1", **settings), lambda progress: None, scene.clock.seconds)
    got: list[Any] = []
    Deferred.fromCoroutine(made.run()).addCallbacks(got.append, lambda failure: got.append(failure.value))
    scene.clock.pump([0.05] * 100)
    return got[0]


@pytest.mark.parametrize(("state", "status", "left"), [("running", "", BEFORE), ("finish-migrate", "pre-switchover", SENDING)])
def test_one_that_was_not_handed_over_is_rolled_back(state: str, status: str, left: dict[str, Any]) -> None:
    scene = Scene(state, status, **left)
    scene.tune()
    scene.mirror()
    error = rescue(scene)
    assert type(error) is MigrationError
    assert "at the source, as it was before" in str(error)
    assert scene.qemu.state == "running"
    assert scene.is_clean()
    assert scene.answer.asked == []


def test_one_that_has_arrived_is_ended_here() -> None:
    scene = Scene("postmigrate", "completed", "arrived", **HANDED)
    scene.tune()
    last = rescue(scene)
    assert isinstance(last, Progress)
    assert last.phase is Phase.COMPLETED
    assert not scene.qemu.alive


def test_one_that_has_arrived_and_does_not_end_here_is_tried_again() -> None:
    scene = Scene("postmigrate", "completed", "arrived", **HANDED)
    scene.qemu.fails["quit"] = MonitorError("web1: QEMU has not answered quit")
    error = rescue(scene)
    assert isinstance(error, OutcomeUnknown)
    assert "may run at the destination (web1: QEMU has not answered quit)" in str(error)
    scene.qemu.fails.clear()
    assert isinstance(rescue(scene), Progress)
    assert not scene.qemu.alive


def test_one_that_nobody_knows_about_and_that_runs_here_by_now() -> None:
    scene = Scene("postmigrate", "completed", LinkLost("no connection"), **HANDED)
    scene.let_go_on()
    assert "(no connection). The source RUNS: somebody has let" in str(rescue(scene))


def test_the_source_can_be_kept() -> None:
    scene = Scene("postmigrate", "completed", "arrived", **HANDED)
    scene.tune()
    assert isinstance(rescue(scene, keep_source=True), Progress)
    assert scene.qemu.state == "postmigrate"


def test_a_fresh_qemu_there_proves_nothing() -> None:
    scene = Scene("postmigrate", "completed", "fresh", **HANDED)
    assert isinstance(rescue(scene), OutcomeUnknown)
    assert scene.qemu.state == "postmigrate"
    assert scene.qemu.objects
