"""All of an evacuation at one moment."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from nbdtun.evacuation.life import State
from nbdtun.evacuation.overview import Overview
from nbdtun.evacuation.values import Entry, Move
from nbdtun.migration.progress import DiskProgress, MemoryProgress, Phase, Progress


def in_state(vm: str, state: State) -> Entry:
    return evolve(Entry(Move(vm, "", "hv2")), state=state)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([State.MOVED, State.MOVED], 0),
        ([State.MOVED, State.STAYED], 1),
        ([State.LOST, State.STAYED], 4),
        ([State.LOST, State.UNKNOWN, State.STAYED], 3),
        ([], 0),
    ],
)
def test_the_exit_status(states: list[State], status: int) -> None:
    assert Overview(1.0, tuple(in_state("a", state) for state in states)).status == status


def test_as_json() -> None:
    progress = Progress(2.0, 1.0, Phase.MIRROR, (DiskProgress("vda", 100, 30),), MemoryProgress(50, 5), rate=7.4, eta=3.0)
    overview = Overview(2.0, (in_state("a", State.COPYING), in_state("b", State.WAITING)), {"a": progress})
    told = json.loads(json.dumps(overview.as_json()))
    assert told["states"] == {"copying": 1, "waiting": 1}
    assert told["status"] is None
    assert [told["vms"][0][name] for name in ("phase", "done", "total", "rate")] == ["mirror", 35, 150, 7]
    assert "phase" not in told["vms"][1]
