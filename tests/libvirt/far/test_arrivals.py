"""What no libvirtd is needed for; integration/libvirt_far has all the rest, with a real one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import DestinationFailed, NbdtunError, NotMigratable, ProtocolViolation, ShuttingDown
from nbdtun.libvirt.far.arrivals import BASE, COMMON, REMOVING, Arrivals, base_of_sessions
from nbdtun.libvirt.far.record import Begun, record
from nbdtun.migration.bond import Bond, Claim
from nbdtun.migration.rollback.presence import identity
from nbdtun.process import Reactor
from tests.libvirt.stage import SESSION, UUID, WANTED

NO_LIBVIRT = "qemu+unix:///system?socket=/nonexistent"


async def alive() -> bool:
    return True


async def cleared(*_: object) -> None:
    pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def arrivals(clock: Clock, tmp_path: Path) -> Arrivals:
    return Arrivals(cast("Reactor", clock), NO_LIBVIRT, tmp_path, lambda arrival: cast("Any", None))


def error(work: Any, clock: Clock | None = None) -> NbdtunError:
    """What becomes of it at once; or, with the clock, when all waits are over."""
    got: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
    if clock is not None:
        assert got == []
        clock.pump([1.0] * int(REMOVING + 1))
    (found,) = got
    assert isinstance(found, NbdtunError)
    return found


@pytest.mark.parametrize("uuid", ["", "web1", "../../etc/shadow", UUID.upper().replace("1", "A"), f"{UUID}\n"])
def test_a_uuid_names_a_file_and_has_one_form(arrivals: Arrivals, uuid: str) -> None:
    assert isinstance(error(arrivals.look(evolve(WANTED, uuid=uuid))), ProtocolViolation)
    assert isinstance(error(arrivals.begin(SESSION, Bond(), evolve(WANTED, uuid=uuid), alive)), ProtocolViolation)
    assert isinstance(error(arrivals.outcome(uuid, None, Claim(), True)), ProtocolViolation)


def test_a_session_that_is_unknown(arrivals: Arrivals) -> None:
    with pytest.raises(DestinationFailed, match="does not know this session"):
        arrivals.session(SESSION, Claim())


def test_nothing_begins_after_the_end(arrivals: Arrivals) -> None:
    Deferred.fromCoroutine(arrivals.stop("the destination's daemon was stopped"))
    assert isinstance(error(arrivals.begin(SESSION, Bond(), WANTED, alive)), ShuttingDown)
    assert repr(arrivals) == f"<Arrivals at {NO_LIBVIRT}: 0 of 0 under way>"


@pytest.mark.parametrize(("session", "ended"), [(SESSION, True), (None, True), ("f" * 32, False)])
def test_a_question_about_an_earlier_session_does_not_end_the_one_that_has_replaced_it(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch, session: str | None, ended: bool
) -> None:
    """It comes from the process beside a source that was killed, and the next attempt may be quicker."""
    did: list[str] = []

    class UnderWay:
        wanted, bond, session, over = WANTED, Bond("here"), SESSION, False

        async def abandon(self, why: str) -> None:
            did.append("abandon")

    class Asked:
        async def ask(self, work: Any) -> None:
            return None

    async def clear(*_: object) -> None:
        did.append("clear")

    monkeypatch.setattr(arrivals, "_known", {SESSION: UnderWay()})
    monkeypatch.setattr(arrivals, "_local", Asked())
    monkeypatch.setattr(arrivals, "_clear", clear)
    got: list[Any] = []
    Deferred.fromCoroutine(arrivals.outcome(UUID, session, Claim(frozenset({"here"})), end=True)).addBoth(got.append)
    assert not got[0].has_run
    assert did == (["abandon", "clear"] if ended else [])


def test_what_another_process_works_on_is_left_alone(arrivals: Arrivals, clock: Clock, tmp_path: Path) -> None:
    kept = record(tmp_path, UUID)
    kept.write(Begun(UUID, "web1", SESSION, maker=identity(os.getppid())))
    refused = error(arrivals.begin("f" * 32, Bond(), WANTED, alive), clock)
    assert isinstance(refused, NotMigratable)
    assert "which stays, as another nbdtun works on it" in f"{refused}"
    assert kept.read() is not None
    assert arrivals.under_way == []
    assert arrivals.tally.ended == {("failed", "prepare"): 1}


def test_a_process_that_removes_it_is_waited_for(arrivals: Arrivals, clock: Clock, tmp_path: Path) -> None:
    kept, got = record(tmp_path, UUID), list[Any]()
    kept.write(Begun(UUID, "web1", SESSION, maker=identity(os.getppid())))
    Deferred.fromCoroutine(arrivals._clear(kept, Claim())).addBoth(got.append)
    clock.advance(1)
    assert got == []
    kept.erase()
    clock.advance(1)
    assert got == [None]


def test_what_was_left_is_swept_by_one_process(arrivals: Arrivals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so by the record, before it does anything."""
    kept = record(tmp_path, UUID)
    monkeypatch.setattr(arrivals, "_clear", cleared)
    kept.write(Begun(UUID, "web1", SESSION, maker="1 2 3"))
    for maker, swept in (("4 5 6", False), ("1 2 3", True)):
        Deferred.fromCoroutine(arrivals.sweep(maker))
        left = kept.read()
        assert left is not None
        assert (left.maker == identity(os.getpid())) is swept


def test_where_directories_of_sessions_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for user, base in ((0, BASE), (1000, COMMON)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert base_of_sessions() == base


def test_a_record_that_cannot_be_read_blocks_its_own_domain_only(arrivals: Arrivals, clock: Clock, tmp_path: Path) -> None:
    kept, other = record(tmp_path, UUID), record(tmp_path, f"f{UUID[1:]}")
    kept.write(Begun(UUID, "web1", SESSION, maker=identity(os.getppid())))
    text = (tmp_path / f"{UUID}.arrival").read_text()
    (tmp_path / f"{UUID}.arrival").write_text("{}")
    refused = error(arrivals.begin("f" * 32, Bond(), WANTED, alive))
    assert isinstance(refused, NotMigratable)
    assert f"{UUID}.arrival, the record of an earlier migration, cannot be read" in f"{refused}"
    (tmp_path / f"f{UUID[1:]}.arrival").write_text(text.replace(UUID, f"f{UUID[1:]}"))
    done: list[Any] = []
    Deferred.fromCoroutine(arrivals.sweep()).addBoth(done.append)
    clock.pump([1.0] * 60)
    assert done == [None]
    assert (tmp_path / f"{UUID}.arrival").read_text() == "{}"
    assert other.read() is not None
