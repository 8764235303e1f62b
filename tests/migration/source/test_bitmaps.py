"""Migrations on paper of a VM whose disk has bitmaps."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from nbdtun.errors import NotMigratable
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import Belonging
from tests.migration.stage.verdicts import assert_at_source, assert_moved, with_bitmaps


def test_bitmaps_move_with_it() -> None:
    stage = with_bitmaps()
    assert_moved(stage, stage.outcome(stage.start(keep_source=True)))
    (mapped,) = stage.source.sent
    assert [(one["alias"], one["transform"]) for one in mapped["bitmaps"]] == [("b0", {"persistent": True}), ("m0", {"persistent": False})]
    (wanted,) = stage.destination.sent
    assert (wanted["node-name"], wanted["alias"]) == ("vda", mapped["alias"])
    assert wanted["bitmaps"] == [{"name": "b0", "alias": "b0"}, {"name": "m0", "alias": "m0"}]
    assert [bitmap["name"] for bitmap in stage.source.bitmaps] == ["b0", "m0"]  # the copies are gone


def test_bitmaps_stay_if_asked() -> None:
    stage = with_bitmaps()
    assert_moved(stage, stage.outcome(stage.start(leave_behind=frozenset({Belonging.BITMAPS}))))
    assert stage.source.sent == stage.destination.sent == []


def test_a_bitmap_that_cannot_move_ends_it_before_anything_is_done() -> None:
    stage = with_bitmaps()
    stage.destination.driver = "raw"
    assert_at_source(stage, stage.outcome(stage.start()), NotMigratable)
    assert "blockdev-mirror" not in stage.source.asked
    assert stage.destination.alive


def test_a_bitmap_that_comes_while_the_memory_is_sent_ends_it() -> None:
    stage = with_bitmaps()
    migration = stage.start()
    stage.turn(60, Phase.RAM)
    stage.turn(0.5)
    stage.source.bitmaps.append({"node": "vda", "name": "b1", "persistent": True})
    outcome = stage.outcome(migration)
    assert_at_source(stage, outcome, NotMigratable)
    assert "bitmaps were added or removed while the memory was sent: b1" in str(outcome)
    assert [bitmap["name"] for bitmap in stage.source.bitmaps] == ["b0", "m0", "b1"]


@pytest.mark.parametrize("phase", [Phase.RAM, Phase.SWITCHOVER])
def test_the_copies_of_bitmaps_go_when_it_is_cancelled(phase: Phase) -> None:
    stage = with_bitmaps()
    migration = stage.start()
    stage.turn(60, phase)
    assert [bitmap["of"] for bitmap in stage.source.bitmaps[2:]] == ["b0", "m0"]
    stage.migration.cancel()
    assert_at_source(stage, stage.outcome(migration), CancelledError)
    assert len(stage.source.bitmaps) == 2
