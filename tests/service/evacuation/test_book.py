"""What an evacuation knows, and what a later process finds of it in the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from nbdtun.errors import JournalFailed
from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.retries import LONGEST
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry, Move
from nbdtun.service.evacuation.book import Book, steady

TERMS = Terms(qmp="/run/{vm}.qmp", to=("hv2",))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "evacuation.journal").open()
    journal.begin(TERMS, [Entry(Move(vm, f"/run/{vm}.qmp", "hv2", ("hv2",))) for vm in ("a", "b")])
    yield journal
    journal.close()


def test_what_is_noted_is_in_the_journal(journal: Journal) -> None:
    book = Book(journal, TERMS)
    assert not book.over
    for vm in ("a", "b"):
        book.note(book[vm].after(Trigger.GIVE_UP, code="config"), "stays")
    assert book.over
    assert [entry.state for entry in Book(journal, TERMS).entries] == [State.STAYED, State.STAYED]


def test_failures_in_a_row_go_with_the_next_note(journal: Journal) -> None:
    book = Book(journal, TERMS)
    book.strikes = book.strikes.failed("hv2", "a")
    assert journal.strikes().vms == {}
    book.note(book["b"].after(Trigger.START), "is migrated")
    assert journal.strikes().vms == {"hv2": ("a",)}


def test_what_cannot_be_written_has_not_happened(journal: Journal) -> None:
    book = Book(journal, TERMS)
    journal._open.execute("PRAGMA query_only = on")
    with pytest.raises(JournalFailed):
        book.note(book["a"].after(Trigger.START), "is migrated")
    with pytest.raises(JournalFailed):
        book.change(bandwidth=7)
    assert (book["a"].state, book.terms) == (State.WAITING, TERMS)
    journal._open.execute("PRAGMA query_only = off")
    book.change(bandwidth=7)
    assert journal.terms() == book.terms == evolve(TERMS, bandwidth=7)


def test_a_destination_is_full_for_some_time(journal: Journal) -> None:
    book = Book(journal, TERMS)
    book.fill("hv2", steady() + 60_000)
    assert book.full == {"hv2"}
    book.fill("hv2", steady())
    assert book.full == frozenset()


def test_a_clock_that_was_set_back_before_this_process_lengthens_no_pause(journal: Journal) -> None:
    journal.note(evolve(journal.entries()[0], not_before=steady() + 86_400_000), "waits")
    assert Book(journal, TERMS)["a"].not_before <= steady() + LONGEST


def test_without_a_window_it_is_always_open(journal: Journal) -> None:
    book = Book(journal, TERMS)
    assert book.is_open
    assert book.opens <= steady()
    book.change(window="22:00-21:59")
    assert book.opens >= steady() - 60_000
