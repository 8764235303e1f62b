"""What follows from the end of a VM's process, by its last report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from nbdtun.errors import HookFailed
from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.outcome import Fate, Outcome
from nbdtun.evacuation.terms import AtEnd, Terms
from nbdtun.evacuation.values import Entry, Move
from nbdtun.evacuation.window import Window
from nbdtun.migration.progress import Phase, Progress
from nbdtun.service.evacuation import book as module
from nbdtun.service.evacuation.aftermath import Aftermath
from nbdtun.service.evacuation.book import Book, steady
from nbdtun.service.evacuation.hooks import Hook

TERMS = Terms(qmp="/run/{vm}.qmp", to=("hv2", "hv3"), retries=1, pause=60_000)
WAITS = Entry(Move("a", "/run/a.qmp", "hv2", ("hv2", "hv3")))
COPIES = WAITS.after(Trigger.START, to="hv2", attempt=1)


@define(eq=False)
class Ended:
    """A process that has ended, and its last report."""

    final: Progress | None
    forgotten: bool = False

    def last(self) -> Progress | None:
        return self.final

    def said(self) -> str:
        return "killed"

    def forget(self) -> None:
        self.forgotten = True


@define(eq=False)
class Far:
    """A destination that is asked for a VM."""

    fate: Fate = Fate.ARRIVED

    async def find(self, entry: Entry, outcome: Outcome) -> Outcome:
        return evolve(outcome, fate=self.fate)


@define(eq=False)
class Calls:
    """The hooks: which were called, and whether they fail."""

    made: list[Hook] = field(factory=list)
    fail: bool = False

    async def call(self, hook: Hook, told: Mapping[str, str]) -> None:
        self.made.append(hook)
        if self.fail:
            raise HookFailed("no")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "evacuation.journal").open()
    yield journal
    journal.close()


class Case:
    """One VM whose process ends."""

    def __init__(self, journal: Journal, entry: Entry = COPIES) -> None:
        journal.begin(TERMS, [entry])
        self.book, self.hooks, self.far, self.said = Book(journal, TERMS), Calls(), Far(), list[str]()
        self.after = Aftermath(self.book, cast(Any, self.hooks), cast(Any, self.far), self.said.append)

    def ends(self, phase: Phase | None, code: str | None = None) -> Entry:
        child = Ended(None if phase is None else Progress(0.0, 0.0, phase, error=code, code=code))
        done = Deferred.fromCoroutine(self.after.of(self.book["a"], cast(Any, child)))
        assert done.called
        assert done.result is None
        assert child.forgotten == (self.book["a"].state is State.MOVED)
        return self.book["a"]


def test_it_has_arrived(journal: Journal) -> None:
    case = Case(journal)
    case.book.strikes = case.book.strikes.failed("hv2", "b")
    assert case.ends(Phase.COMPLETED).state is State.MOVED
    assert case.hooks.made == [Hook.AFTER]
    assert journal.strikes().vms == {}


def test_it_is_tried_again_elsewhere_and_then_stays(journal: Journal) -> None:
    case = Case(journal)
    again = case.ends(Phase.FAILED, "link-lost")
    assert (again.state, again.to, again.failures) == (State.WAITING, "hv3", 1)
    assert journal.strikes().vms == {"hv2": ("a",)}
    assert case.hooks.made == []
    case.book.note(again.after(Trigger.START), "is migrated")
    assert case.ends(Phase.FAILED, "link-lost").state is State.STAYED
    assert case.hooks.made == [Hook.FAILED]


def test_a_clock_that_is_set_back_lengthens_no_pause(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(journal)
    now = steady()
    monkeypatch.setattr(module, "time", lambda: now / 1000 - 86_400)
    waits = case.ends(Phase.FAILED, "link-lost")
    assert now + TERMS.pause <= waits.not_before <= steady() + TERMS.pause
    case.book.note(waits.after(Trigger.START), "is migrated")
    assert case.ends(Phase.FAILED, "link-lost").ended < now - 86_000_000  # what an operator is told is the host's time


def test_one_that_is_lost_there_is_not_tried_again(journal: Journal) -> None:
    case = Case(journal)
    lost = case.ends(Phase.LOST, "guest-lost")
    assert (lost.state, lost.code) == (State.LOST, "guest-lost")
    assert case.hooks.made == [Hook.FAILED]


def test_one_without_a_word_is_asked_for_until_that_is_in_vain(journal: Journal) -> None:
    case = Case(journal)
    asked = case.ends(None)
    assert (asked.state, asked.code) == (State.UNSETTLED, "killed")
    for state in (State.UNSETTLED, State.UNKNOWN):
        case.book.note(case.book["a"].after(Trigger.SETTLE), "its outcome is asked for")
        assert case.ends(Phase.UNKNOWN, "no-answer").state is state


@pytest.mark.parametrize(("phase", "code"), [(Phase.CANCELLED, None), (Phase.FAILED, "not-migratable"), (Phase.UNKNOWN, "unknown")])
def test_one_that_was_not_asked_for_is_not_told_to_have_stayed(journal: Journal, phase: Phase, code: str | None) -> None:
    case = Case(journal, WAITS.after(Trigger.START, to="hv2").after(Trigger.VANISH).after(Trigger.SETTLE))
    assert case.ends(phase, code).state is State.UNSETTLED
    case.book.note(case.book["a"].after(Trigger.SETTLE), "its outcome is asked for")
    assert case.ends(phase, code).state is State.UNKNOWN


def test_one_whose_qemu_here_is_gone_is_asked_for_there(journal: Journal) -> None:
    case = Case(journal, WAITS.after(Trigger.START, to="hv2").after(Trigger.VANISH).after(Trigger.SETTLE))
    assert case.ends(Phase.FAILED, "monitor").state is State.MOVED


def test_a_full_destination_is_no_failure(journal: Journal) -> None:
    case = Case(journal)
    again = case.ends(Phase.FAILED, "too-many-arrivals")
    assert (again.state, again.failures) == (State.WAITING, 0)
    assert case.book.full == {"hv2"}


def test_at_the_end_of_the_window_it_waits_for_the_next(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    hours, opens = [False], datetime.now().replace(microsecond=0) + timedelta(hours=1)
    monkeypatch.setattr(Window, "is_open", lambda window, now: hours[0])
    monkeypatch.setattr(Window, "opens", lambda window, now: opens)
    case = Case(journal)
    case.book.terms = evolve(TERMS, window="22:00-05:00", at_end=AtEnd.ROLL_BACK)
    waits = case.ends(Phase.CANCELLED, "cancelled")
    assert (waits.state, waits.failures) == (State.WAITING, 0)
    assert abs(waits.not_before - opens.timestamp() * 1000) < 60_000  # by two clocks
    case.book.note(waits.after(Trigger.START), "is migrated")
    hours[0] = True
    assert case.ends(Phase.CANCELLED, "cancelled").state is State.STAYED


def test_one_that_its_operator_cancels_outside_of_the_window_stays(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "is_open", lambda window, now: False)
    case = Case(journal)
    case.book.terms = evolve(TERMS, window="22:00-05:00")
    assert case.ends(Phase.CANCELLED, "cancelled").state is State.STAYED


def test_why_it_stays(journal: Journal) -> None:
    case = Case(journal, WAITS)
    case.book.stopping = True
    Deferred.fromCoroutine(case.after.stay(case.book["a"]))
    assert (case.book["a"].state, case.book["a"].code) == (State.STAYED, "cancelled")
    for vm in "bcd":
        case.book.strikes = case.book.strikes.failed("hv2", vm)
    case.book.stopping = False
    Deferred.fromCoroutine(case.after.stay(WAITS))
    assert case.book["a"].reason == "no destination takes it: hv2 failed too often"
    Deferred.fromCoroutine(case.after.stay(evolve(WAITS, move=evolve(WAITS.move, refused="it has a job", code="not-migratable"))))
    assert case.book["a"].code == "not-migratable"


def test_a_hook_that_fails_is_told_and_changes_no_outcome(journal: Journal) -> None:
    case = Case(journal)
    case.hooks.fail = True
    assert case.ends(Phase.COMPLETED).state is State.MOVED
    assert case.said == ["a: no"]
