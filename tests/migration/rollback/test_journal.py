from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as some
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MonitorError, NotMigratable
from nbdtun.migration.ids import JOURNAL
from nbdtun.migration.rollback.journal import End, Entry, Journal, read
from nbdtun.migration.rollback.presence import identity
from tests.migration.stage.left import entry
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.talk import SESSION

seconds = some.floats(0, 1e7)
entries = some.builds(
    Entry,
    session=some.text("0123456789abcdef", min_size=32, max_size=32),
    end=some.sampled_from(End),
    pid=some.integers(1, 1 << 22),
    runs=some.booleans(),
    began=some.none() | seconds,
    switched=some.none() | seconds,
    handed_over=some.booleans(),
    capabilities=some.dictionaries(some.text(), some.booleans()),
    parameters=some.dictionaries(some.text(), some.integers() | some.text()),
    process=some.just("") | some.just(identity(os.getpid())),
)


def qemu() -> PaperQemu:
    one = PaperQemu(Clock(), "web1")
    Deferred.fromCoroutine(one.connect())
    return one


def do(one: PaperQemu, work: Any) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
    one.clock.pump([0.01] * 10)
    return got[0]


@given(entries)
def test_what_is_written_can_be_read(one: Entry) -> None:
    assert Entry.parse(one.text()) == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[" * 100_000,
        '{"session":' * 100_000,
        "[]",
        "{}",
        "7",
        '{"session": "x", "end": "source", "pid": 1, "runs": true}',
        entry().text().replace('"lowest": 1, "highest": 1', '"lowest": 2, "highest": 3'),
        entry().text().replace('"features": []', '"features": ["ghosts"]'),
    ],
)
def test_what_cannot_be_understood_is_left_alone(text: str) -> None:
    one = qemu()
    one.objects[JOURNAL] = text
    error = do(one, read(one))
    assert isinstance(error, NotMigratable)
    assert "another version of nbdtun was migrating it" in str(error)
    assert one.objects


def test_an_entry_of_another_release_that_this_one_understands() -> None:
    """It tells more, has a wider range, or leaves out what this one has a default for."""
    later = json.loads(entry().text()) | {"highest": 3, "ghosts": {"how": ["many"]}}
    assert Entry.parse(json.dumps(later)) == entry()
    for missing in ("began", "switched", "handed_over", "capabilities", "parameters", "process"):
        earlier = json.loads(entry().text())
        del earlier[missing]
        assert Entry.parse(json.dumps(earlier)) == entry()


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"lowest": 2, "highest": 3}, "it speaks versions 2 to 3 of the journal, this nbdtun version 1; this nbdtun needs a newer release"),
        ({"features": ["ghosts"]}, "it has ghosts, which this nbdtun has not; this nbdtun needs a newer release"),
        ({"features": ["\x1b"]}, "it does not say which versions understand it"),
        ({"pid": "x"}, "not a journal entry"),
        ({"secret": "5ec2e7"}, "not a journal entry: its secret is malformed"),
    ],
)
def test_an_entry_that_it_does_not_understand_is_one_line(told: dict[str, Any], line: str) -> None:
    one = qemu()
    one.objects[JOURNAL] = json.dumps(json.loads(entry().text()) | told)
    error = do(one, read(one))
    assert isinstance(error, NotMigratable)
    assert line in str(error)
    assert "5ec2e7" not in str(error)
    assert str(error).startswith("web1: another version of nbdtun was migrating it (")


def test_its_life() -> None:
    one = qemu()
    journal = Journal(one, End.SOURCE, SESSION, one.clock.seconds)
    assert do(one, read(one)) is None
    do(one, journal.open(runs=True))
    assert do(one, read(one)) == entry(pid=os.getpid(), process=identity(os.getpid()))
    assert do(one, read(one)).alive
    do(one, journal.remember({"events": False}, {"max-bandwidth": 5}))
    do(one, journal.remember({"events": True}, {"max-bandwidth": 6, "downtime-limit": 300}))
    one.clock.advance(100)
    do(one, journal.memory_begins(runs=True))
    do(one, journal.switchover_begins(runs=False))
    do(one, journal.note(handed_over=True))
    written = do(one, read(one))
    assert written.capabilities == {"events": False}  # as it was before the first change
    assert written.parameters == {"max-bandwidth": 5, "downtime-limit": 300}
    assert 100 < written.began < written.switched
    assert (written.runs, written.handed_over) == (False, True)
    assert repr(journal) == "<Journal 01234567 at the source open>"
    do(one, journal.close())
    do(one, journal.close())
    assert do(one, read(one)) is None
    assert not written.alive


def test_it_outlives_who_wrote_it(kill: Callable[[], None]) -> None:
    one = qemu()
    do(one, Journal(one, End.SOURCE, SESSION).open(runs=True))
    kill()
    left = do(one, read(one))
    assert left is not None
    assert not left.alive


def test_who_takes_its_name_afterwards_does_not_prevent_a_recovery() -> None:
    """Every user can see the name while it is held, and take it as soon as its process has been killed."""
    killed = entry(process=f"{identity(os.getpid())}1")
    with squatting(f"{killed.name} {os.getpid()}"):
        assert not killed.alive
        assert evolve(killed, process=identity(os.getpid())).name != killed.name  # nor does the next process find its own name taken


@contextmanager
def squatting(name: str) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(f"\0{name}")
        squatter.listen()
        yield


def test_what_everybody_can_see_does_not_tell_the_session() -> None:
    one, other = entry(), entry(end=End.DESTINATION)
    assert SESSION[:8] not in one.name + other.name
    assert one.name != other.name != entry(session="f" * 32).name


def test_a_qemu_has_one() -> None:
    one = qemu()
    do(one, Journal(one, End.SOURCE, SESSION).open(runs=True))
    again = do(one, Journal(one, End.SOURCE, "f" * 32).open(runs=True))
    assert "another nbdtun has just started to migrate it" in str(again)
    assert "session 01234567 already exists" in str(do(one, Journal(one, End.SOURCE, SESSION).open(runs=True)))
    assert do(one, read(one)).session == SESSION


def test_a_line_that_cannot_be_written_stops_the_step() -> None:
    one = qemu()
    journal = Journal(one, End.SOURCE, SESSION)
    do(one, journal.open(runs=True))
    one.fails["qom-set"] = MonitorError("no")
    assert isinstance(do(one, journal.memory_begins(runs=True)), MonitorError)
