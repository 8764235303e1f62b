"""What a killed migration has left, on paper: each state that it can be in, and what the next one makes of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nbdtun.errors import GuestLost, LinkLost, MonitorError, NbdtunError, NotMigratable, OutcomeUnknown
from nbdtun.migration.ids import JOURNAL
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.rollback.presence import Presence
from nbdtun.migration.source.recovery import LONGEST_END_SECONDS, SLACK_SECONDS, is_ours
from nbdtun.migration.vm.memory import Migrated
from tests.migration.stage.left import BEFORE, HANDED, SENDING, SWITCHING, Scene, entry
from tests.migration.stage.talk import SESSION

seconds = some.floats(0, 1e7)

SECRET = b"s" * 32


@given(began=seconds, lasted=some.floats(0, 1e5), error=some.floats(-9, 9))
def test_a_migration_that_began_when_ours_did_is_ours(began: float, lasted: float, error: float) -> None:
    now = Migrated("pre-switchover", seconds=lasted)
    assert is_ours(entry(began=began), now, began + lasted + error)
    assert not is_ours(entry(began=began), now, began + lasted + error + 2 * SLACK_SECONDS)
    assert not is_ours(entry(began=began), now, began + lasted + error - 2 * SLACK_SECONDS)


@given(began=seconds, sending=some.floats(0, 1e5), ending=some.floats(0, 100))
def test_one_that_ended_when_ours_could_have_is_ours(began: float, sending: float, ending: float) -> None:
    switched = entry(began=began, switched=began + sending)
    assert is_ours(switched, Migrated("completed", seconds=sending + ending), 1e9)
    assert not is_ours(switched, Migrated("completed", seconds=sending + LONGEST_END_SECONDS + 1), 1e9)
    assert not is_ours(switched, Migrated("completed", seconds=sending - SLACK_SECONDS - 1), 1e9)


def test_one_that_had_not_begun_or_not_switched_owns_nothing() -> None:
    assert not is_ours(entry(), Migrated("active"), 0)
    assert not is_ours(entry(began=0.0), Migrated("completed"), 0)


def test_where_nothing_is_left_nothing_is_done() -> None:
    scene = Scene()
    scene.qemu.objects.clear()
    assert scene.settle() is False
    assert scene.qemu.asked == ["qom-get"]


def test_mirrors_are_taken_out() -> None:
    scene = Scene(**BEFORE)
    scene.mirror()
    scene.tune()
    assert scene.settle() is False
    assert scene.is_clean()
    assert scene.qemu.state == "running"
    assert "cont" not in scene.qemu.asked
    assert scene.answer.asked == []


def test_copies_of_bitmaps_are_removed_after_the_memory_was_cancelled() -> None:
    """Until then they are busy."""
    scene = Scene("finish-migrate", "pre-switchover", **SENDING)
    scene.qemu.bitmaps = [{"node": "vda", "name": "b0"}, {"node": "vda", "name": "nbdtun-0123456789abcdef-0-0"}]
    assert scene.settle() is False
    assert [bitmap["name"] for bitmap in scene.qemu.bitmaps] == ["b0"]
    assert scene.qemu.asked.index("migrate_cancel") < scene.qemu.asked.index("block-dirty-bitmap-remove")


@pytest.mark.parametrize("status", ["failed", "active", "pre-switchover"])
def test_memory_is_cancelled_after_the_mirrors(status: str) -> None:
    scene = Scene("finish-migrate" if status == "pre-switchover" else "running", status, **SENDING)
    scene.mirror()
    scene.tune()
    assert scene.settle() is False
    assert scene.is_clean()
    assert scene.qemu.state == "running"
    assert "cont" not in scene.qemu.asked  # QEMU does it by itself
    if status != "failed":
        assert scene.qemu.asked.index("block-job-cancel") < scene.qemu.asked.index("migrate_cancel")


def test_a_guest_whose_memory_was_sent_but_not_handed_over_runs_on_without_a_question() -> None:
    scene = Scene("postmigrate", "completed", **SWITCHING)
    scene.tune()
    assert scene.settle() is False
    assert scene.qemu.state == "running"
    assert scene.is_clean()
    assert scene.answer.asked == []


def test_one_that_was_paused_before_stays_paused() -> None:
    scene = Scene("postmigrate", "completed", **SWITCHING | {"runs": False})
    assert scene.settle() is False
    assert scene.qemu.state == "postmigrate"
    assert scene.is_clean()


def test_one_that_an_operator_has_paused_meanwhile_stays_paused() -> None:
    scene = Scene("paused", "failed", **SENDING)
    assert scene.settle() is False
    assert scene.qemu.state == "paused"


@pytest.mark.parametrize(
    ("state", "status", "left"),
    [
        ("paused", "", BEFORE),  # while disks were copied
        ("paused", "active", SENDING),
        ("paused", "failed", SENDING),
        ("postmigrate", "cancelled", SENDING),  # QEMU 7.2's word for a guest that was paused before
        ("postmigrate", "completed", SWITCHING),
    ],
)
def test_one_that_the_migration_itself_has_paused_runs_on(state: str, status: str, left: dict[str, Any]) -> None:
    """By --on-timeout force."""
    scene = Scene(state, status, forced=True, **left)
    scene.mirror()
    assert scene.settle() is False
    assert scene.qemu.state == "running"
    assert scene.qemu.announced == ["running"]
    assert scene.is_clean()


def test_it_has_arrived() -> None:
    """Its journal has the session's secret, without which the destination would not know the session."""
    scene = Scene("postmigrate", "completed", secret=SECRET.hex(), **HANDED)
    scene.tune()
    assert scene.settle(keep_source=True) is True
    assert scene.answer.asked == [{"vm": "web1", "session": SESSION, "secret": SECRET, "downtime": None}]
    assert scene.qemu.state == "postmigrate"
    assert scene.is_clean()


def test_the_journal_of_one_that_has_arrived_ends_with_its_qemu() -> None:
    """If this process is killed as well, the next attempt asks again, and does not take the VM for one that is here."""
    scene = Scene("postmigrate", "completed", **HANDED)
    assert scene.settle() is True
    assert scene.settle() is True
    assert scene.qemu.objects[JOURNAL] == scene.left.text()


def test_it_was_handed_over_and_never_arrived() -> None:
    scene = Scene("postmigrate", "completed", "gone", **HANDED)
    assert scene.settle() is False
    assert scene.qemu.state == "running"
    assert scene.is_clean()


def test_one_that_is_lost_there_stays_paused_here() -> None:
    scene = Scene("postmigrate", "completed", "lost", **HANDED)
    assert isinstance(scene.settle(), GuestLost)
    assert scene.qemu.state == "postmigrate"
    assert scene.qemu.objects


@pytest.mark.parametrize("outcome", [LinkLost("no connection"), MonitorError("no QEMU there"), "fresh"])
def test_nobody_can_tell_and_nothing_is_touched(outcome: str | NbdtunError) -> None:
    scene = Scene("postmigrate", "completed", outcome, **HANDED)
    error = scene.settle()
    assert isinstance(error, OutcomeUnknown)
    assert "The source stays paused" in str(error)
    assert scene.qemu.state == "postmigrate"
    assert scene.qemu.objects[JOURNAL] == scene.left.text()


def test_an_interruption_does_not_make_it_known() -> None:
    """By Ctrl-C, or a time limit: status 130 or 1 would say that the VM is at the source only."""
    scene = Scene("postmigrate", "completed", **HANDED)
    scene.answer.outcome = None
    asking, got = scene.recover()
    asking.cancel()
    assert isinstance(got[0], OutcomeUnknown)
    assert "(the question was interrupted). The source stays paused" in str(got[0])
    assert scene.qemu.objects[JOURNAL] == scene.left.text()


def test_nor_does_a_qemu_that_cannot_be_cleaned_up_once_it_has_arrived() -> None:
    scene = Scene("postmigrate", "completed", **HANDED)
    scene.mirror()
    scene.qemu.fails["blockdev-del"] = MonitorError("web1: QEMU has not answered blockdev-del")
    error = scene.settle(keep_source=True)
    assert isinstance(error, OutcomeUnknown)
    assert "may run at the destination (web1: QEMU has not answered blockdev-del)" in str(error)
    scene.qemu.fails.clear()
    assert scene.settle(keep_source=True) is True


def test_one_that_an_operator_has_let_go_on_is_not_asked_for() -> None:
    scene = Scene("running", "completed", **HANDED)
    assert scene.settle() is False
    assert scene.answer.asked == []
    assert scene.is_clean()


@pytest.mark.parametrize(
    ("state", "status", "left"),
    [
        ("finish-migrate", "pre-switchover", {}),
        ("running", "active", BEFORE),
        ("running", "active", {"began": 500.0}),
        ("postmigrate", "completed", SENDING),
        ("postmigrate", "completed", {"began": 500.0, "switched": 700.0}),
        ("postmigrate", "completed", {"began": 500.0, "switched": 700.0, "handed_over": True}),
    ],
)
def test_another_tools_migration_is_left_alone(state: str, status: str, left: dict[str, Any]) -> None:
    scene = Scene(state, status, **left)
    scene.mirror()
    error = scene.settle()
    assert isinstance(error, NotMigratable)
    assert "another tool has" in str(error)
    assert set(scene.qemu.asked) == {"qom-get", "query-status", "query-migrate"}


def test_another_tools_migration_that_has_failed_is_no_hindrance() -> None:
    scene = Scene("running", "failed", **BEFORE)
    assert scene.settle() is False
    assert scene.is_clean()


def test_one_that_lives_is_left_alone() -> None:
    scene = Scene("finish-migrate", "pre-switchover", **SENDING)
    Presence(scene.left.name).acquire()
    error = scene.settle()
    assert isinstance(error, NotMigratable)
    assert str(error) == "web1 is being migrated by another nbdtun (process 7)"
    assert scene.qemu.asked == ["qom-get"]


def test_what_an_arrival_has_left_is_removed_from_a_guest_that_runs() -> None:
    scene = Scene(end=End.DESTINATION, began=900.0, handed_over=True, **BEFORE)
    scene.tune()
    assert scene.settle() is False
    assert scene.is_clean()


def test_nor_is_a_paused_guest_that_was_taken_over_an_open_arrival() -> None:
    """With --settle 0 its source has ended by then, and nobody can ask for the outcome."""
    scene = Scene("paused", "completed", end=End.DESTINATION, began=900.0, handed_over=True, **BEFORE | {"runs": False})
    scene.tune()
    assert scene.settle() is False
    assert scene.is_clean()
    assert scene.qemu.state == "paused"


@pytest.mark.parametrize(
    ("state", "status", "left", "why"),
    [
        ("paused", "completed", {}, "killed; run `nbdtun migrate` at its source again"),
        ("inmigrate", "active", {"handed_over": True, "runs": False}, "killed; run `nbdtun migrate` at its source again"),
        ("paused", "completed", {"handed_over": True}, "and may have run here; .*; if no QEMU there has it, running or paused, `cont`"),
        ("postmigrate", "completed", {"handed_over": True, "runs": False}, "another tool has migrated it"),
    ],
)
def test_an_arrival_that_is_open_is_not_migrated_on(state: str, status: str, left: dict[str, Any], why: str) -> None:
    scene = Scene(state, status, end=End.DESTINATION, began=900.0, **left)
    assert re.search(why, str(scene.settle()))
    assert scene.qemu.objects


def test_what_cannot_be_undone_can_be_tried_again() -> None:
    scene = Scene(**BEFORE)
    scene.mirror()
    scene.qemu.fails["blockdev-del"] = MonitorError("web1: QEMU has not answered blockdev-del")
    assert isinstance(scene.settle(), MonitorError)
    scene.qemu.fails.clear()
    assert scene.settle() is False
    assert scene.is_clean()
