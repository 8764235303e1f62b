"""Migrations on paper whose memory goes over several connections."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from nbdtun.migration.progress import Phase
from tests.migration.stage.stage import Stage
from tests.migration.stage.verdicts import assert_at_source, assert_moved


def spread_over(stage: Stage) -> list[tuple[bool, Any]]:
    """Whether the memory has several connections, and how many, at both ends."""
    return [(qemu.capabilities["multifd"], qemu.parameters["multifd-channels"]) for qemu in (stage.source, stage.destination)]


def test_the_memory_goes_over_several_connections() -> None:
    stage = Stage()
    migration = stage.start(connections=3)
    stage.turn(60, Phase.RAM)
    assert spread_over(stage) == [(True, 3), (True, 3)]
    assert_moved(stage, stage.outcome(migration))


@pytest.mark.parametrize("phase", [Phase.READY, Phase.RAM, Phase.SWITCHOVER])
def test_its_connections_are_forgotten_when_it_is_cancelled(phase: Phase) -> None:
    stage = Stage()
    migration = stage.start(connections=3)
    stage.turn(60, phase)
    migration.cancel()
    assert_at_source(stage, stage.outcome(migration), CancelledError)


def test_a_destination_without_several_connections_gets_one() -> None:
    stage = Stage()
    del stage.destination.capabilities["multifd"]
    migration = stage.start(connections=3, keep_source=True)
    stage.turn(60, Phase.RAM)
    assert not stage.source.capabilities["multifd"]
    assert_moved(stage, stage.outcome(migration))
    assert stage.source.parameters["multifd-channels"] == 2
