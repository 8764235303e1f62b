"""A VM's part of the plan, and what became of it."""

from __future__ import annotations

import pytest

from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.values import Entry, Move
from nbdtun.states import ImpossibleTransition
from nbdtun.typed import as_json, of_json

MOVE = Move("web1", "/run/qemu/web1.qmp", "hv2", ("hv2", "hv3"), 1 << 30, 10 << 30, 60, 300, warnings=("slow",))


def test_the_journal_keeps_them() -> None:
    entry = Entry(MOVE).after(Trigger.START, to="hv2", attempt=1, began=1_700_000_000_000)
    assert entry.state is State.COPYING
    assert of_json(Entry, as_json(entry)) == entry


def test_a_step_that_cannot_be_is_a_bug() -> None:
    with pytest.raises(ImpossibleTransition):
        Entry(MOVE).after(Trigger.ARRIVE)


def test_what_is_not_known_is_null() -> None:
    told = Entry(Move("web1", "")).as_json()
    assert [told[name] for name in ("to", "code", "reason", "began", "ended", "downtime_ms")] == [None] * 6
    plan = Move("web1", "").as_json()
    assert [plan[name] for name in ("to", "seconds", "downtime_ms", "refused", "code")] == [None] * 5
    assert MOVE.as_json()["seconds"] == 60
    assert MOVE.size == 11 << 30
