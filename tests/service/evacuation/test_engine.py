"""The loop of an evacuation, with processes that only pretend: what is done at one time, and what is in the journal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from nbdtun.evacuation.budget import Parts
from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.life import State
from nbdtun.evacuation.overview import Overview
from nbdtun.evacuation.values import Entry, Move
from nbdtun.evacuation.window import Window
from nbdtun.migration.progress import Phase
from nbdtun.service.evacuation.control import EvacuationControl
from nbdtun.service.evacuation.hooks import Hook
from tests.service.evacuation.stage import TERMS, TO, Stage


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "evacuation.journal").open()
    yield journal
    journal.close()


def begin(journal: Journal, *vms: str, **more: Any) -> Stage:
    terms = evolve(TERMS, **more)
    journal.begin(terms, [Entry(Move(vm, f"/run/{vm}.qmp", TO[0], TO)) for vm in vms])
    stage = Stage(journal, terms)
    stage.tick()
    return stage


def test_one_switches_over_at_a_time_also_if_its_process_does_not_answer(journal: Journal) -> None:
    stage = begin(journal, "a", "b")
    stage.are_in(Phase.HOLDING, "a", "b")
    stage.tick(50)
    assert stage.crew.released == ["a"]
    assert stage.states() == {"a": State.SWITCHING, "b": State.HELD}
    stage.crew.answer.callback(True)
    stage.tick(2)
    assert stage.crew.released == ["a"]


def test_the_turn_ends_when_the_guest_runs_there(journal: Journal) -> None:
    """Its process has to watch it, and to end the QEMU here."""
    stage = begin(journal, "a", "b")
    stage.crew.answer.callback(True)
    stage.are_in(Phase.HOLDING, "a", "b")
    stage.are_in(Phase.SWITCHOVER, "a")
    assert stage.crew.released == ["a"]
    stage.are_in(Phase.COMPLETED, "a")
    assert stage.crew.released == ["a", "b"]
    for vm in ("a", "b"):
        stage.ends(vm, Phase.COMPLETED)
    assert cast(Overview, stage.run.result).status == 0


def test_a_destination_that_is_away_keeps_one_vm_waiting_and_no_other(journal: Journal) -> None:
    stage = begin(journal, "a", "b", "c", "d", copying=1)
    stage.crew.answer.callback(True)
    stage.are_in(Phase.HOLDING, "a")
    stage.crew.lost = stage.crew.stuck = frozenset({"a"})
    stage.tick(2)
    assert stage.crew.released == ["a"]
    stage.are_in(Phase.HOLDING, "b")  # begun before anybody knew
    stage.are_in(Phase.HOLDING, "c")
    assert stage.crew.released == ["a", "b"]
    assert [stage.crew.words[vm][0] for vm in "abcd"] == ["hv2", "hv2", "hv2", "hv2"]  # b reaches it: it is not away
    stage.crew.lost = stage.crew.stuck = frozenset({"a", "b", "c", "d"})
    stage.tick(2)
    assert stage.crew.released == ["a", "b"]  # none has a link


def test_what_is_begun_while_a_destination_is_away_goes_to_another(journal: Journal) -> None:
    stage = begin(journal, "a", "b", copying=1)
    stage.are_in(Phase.MIRROR, "a")
    assert [*stage.crew.words] == ["a"]
    stage.crew.lost = stage.crew.stuck = frozenset({"a"})
    stage.tick(2)
    assert stage.crew.words["b"] == ("hv3", "--hold")


def test_a_later_engine_knows_which_destination_has_failed(journal: Journal) -> None:
    stage = begin(journal, "a", "b", "c", "d", copying=3)
    for vm in "abc":
        stage.ends(vm, Phase.FAILED, "link-lost")
    assert journal.strikes().closed == {"hv2"}
    for entry in journal.entries():
        journal.note(evolve(entry, not_before=0), "its pause is over")
    later = Stage(journal, stage.book.terms)
    later.tick()
    assert {to for to, *_ in later.crew.words.values()} == {"hv3"}


def test_what_set_has_changed_is_kept_for_a_later_engine(journal: Journal) -> None:
    minute = datetime.now().hour * 60 + datetime.now().minute
    begins, ends = (minute + 120) % 1440, (minute + 180) % 1440
    stage = begin(journal, "a", window=f"{begins // 60:02}:{begins % 60:02}-{ends // 60:02}:{ends % 60:02}")
    stage.are_in(Phase.HOLDING, "a")
    stage.tick(20)
    assert stage.crew.released == []
    change = EvacuationControl(stage.engine).change
    Deferred.fromCoroutine(change(1_000_000, None, 0))
    stage.tick(2)
    assert stage.crew.released == ["a"]
    kept = journal.terms()
    assert kept is not None
    assert (kept.bandwidth, kept.window) == (1_000_000, "")


def test_a_hook_that_an_engine_has_not_ended_is_called_by_the_next(journal: Journal) -> None:
    stage = begin(journal, "a")
    stage.hooks.under_way = Deferred()
    stage.ends("a", Phase.COMPLETED)
    assert stage.hooks.made == [(Hook.BEFORE, "a"), (Hook.AFTER, "a")]
    assert stage.states() == {"a": State.COPYING}
    later = Stage(journal, stage.book.terms)  # as the first is killed now
    later.ends("a", Phase.COMPLETED)
    assert later.hooks.made == [(Hook.AFTER, "a")]
    assert later.states() == {"a": State.MOVED}


def test_a_hook_that_refuses_a_switchover_is_called_once_and_is_the_reason(journal: Journal) -> None:
    stage = begin(journal, "a", "b")
    stage.crew.answer.callback(True)
    stage.hooks.refuse = {(Hook.SWITCHOVER, "a")}
    stage.are_in(Phase.HOLDING, "a", "b")
    stage.tick(5)
    assert (stage.crew.cancelled, stage.crew.released) == ({"a"}, ["b"])
    assert stage.hooks.made.count((Hook.SWITCHOVER, "a")) == 1
    stage.ends("a", Phase.CANCELLED)
    again = stage.book["a"]
    assert (again.state, again.failures, again.code, again.reason) == (State.WAITING, 1, "hook", "the balancer says no")
    assert stage.book.strikes.vms == {}


def test_one_that_cannot_be_moved_has_its_hook_as_well(journal: Journal) -> None:
    journal.begin(TERMS, [Entry(Move("a", "/run/a.qmp", refused="it has a job", code="not-migratable"))])
    stage = Stage(journal, TERMS)
    stage.tick(2)
    assert stage.hooks.made == [(Hook.FAILED, "a")]
    assert cast(Overview, stage.run.result).status == 1


def test_at_the_end_of_the_window_what_is_ready_is_finished_and_the_rest_is_held(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [True]
    monkeypatch.setattr(Window, "is_open", lambda window, now: hours[0])
    stage = begin(journal, "a", "b", "c", window="22:00-05:00")
    stage.crew.answer.callback(True)
    stage.are_in(Phase.HOLDING, "a", "b")
    assert stage.crew.released == ["a"]
    hours[0] = False
    stage.are_in(Phase.HOLDING, "c")
    stage.ends("a", Phase.COMPLETED)
    stage.ends("b", Phase.COMPLETED)
    stage.tick(20)
    assert stage.crew.released == ["a", "b"]
    assert stage.states()["c"] is State.HELD
    hours[0] = True
    stage.tick(2)
    assert stage.crew.released == ["a", "b", "c"]


def test_disks_give_way_while_the_memory_of_one_is_sent_in_its_turn(journal: Journal) -> None:
    stage = begin(journal, "a", "b")
    stage.crew.answer.callback(True)
    stage.crew.line = 60_000_000
    stage.are_in(Phase.MIRROR, "b")
    stage.are_in(Phase.RAM, "a")
    assert stage.crew.parts == Parts()  # its turn has not come
    stage.are_in(Phase.HOLDING, "a")
    stage.are_in(Phase.RAM, "a")
    assert stage.crew.parts == Parts(yields={"b": 20_000_000})
    stage.are_in(Phase.FINISH, "a")
    assert stage.crew.parts == Parts()
