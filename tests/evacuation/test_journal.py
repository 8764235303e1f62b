"""The journal on disk: what a later process finds, and what cannot be written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import evolve

from nbdtun.errors import JournalFailed, NotMigratable
from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.retries import Strikes
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry, Move
from nbdtun.typed import as_json
from tests.powers import ordinary

TERMS = Terms(qmp="/run/qemu/{vm}.qmp", to=("hv2",))
WEB1, WEB2 = (Entry(Move(vm, f"/run/qemu/{vm}.qmp", "hv2", ("hv2",))) for vm in ("web1", "web2"))

#: Writes one change after the other, and tells each when it is done.
WRITER = """
import sys
from pathlib import Path
from attrs import evolve
from nbdtun.evacuation.journal import Journal
from tests.evacuation.test_journal import TERMS, WEB1
journal = Journal(Path(sys.argv[1])).open()
journal.begin(TERMS, [WEB1])
for number in range(1, 1_000_000):
    journal.note(evolve(WEB1, attempt=number), f"{number}")
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "evacuation.journal"


def test_a_later_process_finds_all_of_it(path: Path) -> None:
    journal = Journal(path).open()
    assert journal.terms() is None
    journal.begin(TERMS, [WEB1, WEB2])
    begun = WEB1.after(Trigger.START, to="hv2", attempt=1)
    journal.note(begun, "is migrated")
    journal.close()
    again = Journal(path).open()
    assert (again.terms(), again.entries()) == (TERMS, [begun, WEB2])
    assert [(vm, what) for _, vm, what in again.steps()] == [("web1", "is migrated")]
    again.begin(TERMS, [WEB2])
    assert again.entries() == [WEB2]
    assert again.steps() == []
    again.close()


def test_failures_in_a_row_are_kept(path: Path) -> None:
    journal = Journal(path).open()
    journal.begin(TERMS, [WEB1])
    assert journal.strikes() == Strikes()
    struck = Strikes().failed("hv2", "web1").failed("hv2", "web2")
    journal.note(WEB1, "failed", struck)
    journal.note(WEB1, "is migrated")
    journal.close()
    again = Journal(path).open()
    assert again.strikes() == struck
    again.note(WEB1, "arrived", Strikes())
    assert again.strikes() == Strikes()
    again.note(WEB1, "failed", struck)
    again.begin(TERMS, [WEB1])
    assert again.strikes() == Strikes()
    again.close()


def test_terms_can_be_amended(path: Path) -> None:
    journal = Journal(path).open()
    journal.begin(TERMS, [WEB1])
    journal.amend(evolve(TERMS, bandwidth=1_000_000))
    journal.close()
    again = Journal(path).open()
    assert (again.terms(), again.entries()) == (evolve(TERMS, bandwidth=1_000_000), [WEB1])
    again.close()


def test_a_journal_of_an_earlier_release_has_no_failures_in_a_row(path: Path) -> None:
    journal = Journal(path).open()
    journal.begin(TERMS, [WEB1])
    with journal._change() as database:
        database.execute("DROP TABLE strikes")
    journal.close()
    assert Journal(path).peek() == ([WEB1], False)
    again = Journal(path).open()
    assert (again.strikes(), again.entries()) == (Strikes(), [WEB1])
    again.close()


def test_a_look_takes_and_makes_nothing(path: Path) -> None:
    assert Journal(path).peek() == ([], False)
    assert not path.parent.exists()
    journal = Journal(path).open()
    assert Journal(path).peek() == ([], True)
    journal.begin(TERMS, [WEB1])
    assert Journal(path).peek() == ([WEB1], True)
    journal.close()
    assert Journal(path).peek() == ([WEB1], False)
    path.write_bytes(b"something else, and long enough for SQLite to see it" * 20)
    with pytest.raises(JournalFailed):
        Journal(path).peek()


def test_a_look_behind_a_directory_that_may_not_be_entered(path: Path) -> None:
    path.parent.mkdir(mode=0)
    with ordinary(), pytest.raises(JournalFailed, match=r": Permission denied; choose another with --journal$"):
        Journal(path).peek()


def test_a_disk_without_room_for_it_is_no_place(path: Path) -> None:
    """Nothing has begun, so there is nothing to resume."""
    path.parent.mkdir()
    kept, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, kept[1]))
    try:
        with pytest.raises(JournalFailed, match="choose another with --journal"):
            Journal(path).open()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, ignored)


def test_one_process_at_a_time(path: Path) -> None:
    journal = Journal(path).open()
    with pytest.raises(NotMigratable, match="another"):
        Journal(path).open()
    journal.close()
    Journal(path).open().close()


def test_nothing_that_was_told_is_lost_by_a_kill(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.1)
        writer.send_signal(signal.SIGKILL)
        told = [int(line) for line in writer.stdout.read().splitlines()] or [1]
    journal = Journal(path).open()
    (entry,) = journal.entries()
    assert entry.attempt in (told[-1], told[-1] + 1)
    assert len(journal.steps()) == entry.attempt
    journal.close()


def test_a_full_disk_is_an_error_and_what_was_there_stays(path: Path) -> None:
    journal = Journal(path).open()
    journal.begin(TERMS, [WEB1])
    kept, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(path).st_size, kept[1]))
    try:
        with pytest.raises(JournalFailed, match="--resume"):
            journal.note(WEB1.after(Trigger.GIVE_UP), "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, ignored)
    assert journal.entries() == [WEB1]
    journal.note(WEB1.after(Trigger.GIVE_UP), "and now it can be written")
    assert journal.entries()[0].state is State.STAYED
    journal.close()


def test_files_of_an_earlier_one_that_cannot_be_removed(path: Path) -> None:
    journal = Journal(path).open()
    (journal.files / "web1.1.json").mkdir()
    with pytest.raises(JournalFailed, match="--journal"):
        journal.begin(TERMS, [WEB1])
    assert journal.terms() is None
    journal.close()


def test_something_else_at_its_place(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("no database, but a text that is long enough to be looked at" * 20)
    with pytest.raises(JournalFailed, match="not a database"):
        Journal(path).open()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(JournalFailed, match="--journal"):
        Journal(tmp_path / "state" / "evacuation.journal").open()


def test_another_form(path: Path) -> None:
    journal = Journal(path).open()
    journal.begin(TERMS, [WEB1])
    with journal._change() as database:
        database.execute("UPDATE evacuation SET form = 2")
    with pytest.raises(JournalFailed, match="release"):
        journal.terms()
    with journal._change() as database:
        database.execute("UPDATE evacuation SET form = 1, terms = '{}'")
    with pytest.raises(JournalFailed, match=r"understood: .*; the release that began the evacuation can end it"):
        journal.terms()
    with journal._change() as database:
        database.execute("UPDATE evacuation SET terms = ?", (json.dumps({**as_json(TERMS), "later": 1}),))
    assert journal.terms() == TERMS
    journal.close()
