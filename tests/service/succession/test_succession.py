"""Two processes of a daemon, here in one: who accepts, and what happens where one of them fails."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from nbdtun.errors import ConfigError, MigrationError
from nbdtun.service.control.changes import Changes, Kept
from tests.service.succession.stage import Process, Running, Subject, accepts, soon, succeeded


@pytest_twisted.ensureDeferred
async def test_the_new_one_accepts(first: Process, tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert await accepts(path) == b"first"
    second = await succeeded(first, path)
    assert await accepts(path) == b"second"
    assert second.keeping.begun
    assert first.bucket == first.keeping.throttle.share()
    assert first.keeping.replaced_by == Running.pid
    assert first.did == [Running.pid]
    with pytest.raises(MigrationError, match=f"this program was replaced; ask @{Running.pid}"):
        await first.succession.replace()
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_it_ends_when_nothing_is_left_or_when_it_is_told(first: Process, tmp_path: Path) -> None:
    second = await succeeded(first, tmp_path / "s", seconds=0.01)
    await soon()
    assert first.did == [Running.pid, "leave"]
    first.keeping.finished = True
    first.keeping.users = {"uid 1000": 1}
    first.keeping.figures = {"a": [["a", {}, 1]]}
    await deferLater(reactor, 1.2)
    assert first.did[-1] == "stop"
    assert second.keeping.heard == [{"uid 1000": 3}, {"uid 1000": 1}]
    assert second.keeping.measured == [{}, first.keeping.figures]
    assert second.keeping.earlier is not None
    second.keeping.earlier.leave()
    second.keeping.earlier.leave()
    await soon()
    assert first.did[-2:] == ["leave", "at once"]
    await second.stop()
    await soon()
    assert first.keeping.replaced_by == Running.pid  # it was told to stop, and does


@pytest_twisted.ensureDeferred
async def test_what_it_has_counted_goes_over_at_once_and_at_its_end(first: Process, tmp_path: Path) -> None:
    first.keeping.figures = {"a": [["a", {}, 1]]}
    second = await succeeded(first, tmp_path / "s")
    first.keeping.figures = {"a": [["a", {}, 2]]}
    first.succession.stopService()
    await soon()
    assert [each["a"][0][2] for each in second.keeping.measured] == [1, 2]
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_one_that_was_killed_leaves_the_place_to_the_one_before(first: Process, tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "s"
    second = await succeeded(first, path)
    assert second.keeping.earlier is not None
    second.listening._port.stopReading()
    second.keeping.earlier.hang_up()
    await soon()
    assert await accepts(path) == b"first"
    assert first.keeping.replaced_by is None
    assert said[-1] == f"process {Running.pid}, which had taken over, is gone: this program accepts connections again"
    third = await succeeded(first, path)
    assert await accepts(path) == b"second"
    third.listening.hold()
    second.listening.hold()
    await third.stop()
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_one_that_fails_changes_nothing(first: Process, tmp_path: Path) -> None:
    replacing = Deferred.fromCoroutine(first.succession.replace())
    with pytest.raises(MigrationError, match="this program is being replaced"):
        await first.succession.replace()
    first.running[0].link.shutdown(socket.SHUT_RDWR)
    with pytest.raises(MigrationError, match="the new program ended before it took over; nothing has changed; the daemon's log has"):
        await replacing
    assert first.running[0].killed
    assert await accepts(tmp_path / "s") == b"first"
    assert first.keeping.replaced_by is None


@pytest_twisted.ensureDeferred
async def test_one_that_cannot_take_over_says_why(first: Process, tmp_path: Path) -> None:
    replacing = Deferred.fromCoroutine(first.succession.replace())
    second = Process("second", tmp_path / "s", first.running[-1].link.dup(), "it cannot")
    await soon()
    assert [str(error) for error in second.did] == ["it cannot"]
    await second.stop()
    first.running[0].link.shutdown(socket.SHUT_RDWR)
    with pytest.raises(MigrationError):
        await replacing
    assert await accepts(tmp_path / "s") == b"first"


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_replaced(first: Process) -> None:
    first.keeping.fixed = "its records are OpenSSL's"
    with pytest.raises(MigrationError, match="its records are OpenSSL's; restart the daemon"):
        await first.succession.replace()


@pytest_twisted.ensureDeferred
async def test_a_program_that_is_not_there(first: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    object.__setattr__(first.succession._around, "start", missing)
    with pytest.raises(MigrationError, match="the new program cannot be started: No such file or directory; nothing has changed"):
        await first.succession.replace()
    with pytest.raises(MigrationError, match="cannot be started"):
        await first.succession.replace()


@pytest_twisted.ensureDeferred
async def test_what_is_told_is_told_to_all(first: Process, tmp_path: Path, said: list[str]) -> None:
    """What was set by hand goes over to the new one; and what that one is told, all before it take, or it says who has not."""
    first.succession.subject = old = Subject(Kept(1000, {"bandwidth": 5}))
    newer = Subject(Kept())
    second = await succeeded(first, tmp_path / "s", newer)
    await soon()
    assert newer.went_on == [old.kept]
    assert old.obeyed == [Changes(file=True)]
    assert first.succession.replaced_by == Running.pid
    assert await first.succession.tell(Changes({"bandwidth": 1})) == []
    assert await second.succession.tell(Changes({"bandwidth": 7})) == []
    assert old.obeyed[1:] == [Changes({"bandwidth": 7})]
    old.missed, newer.missed = ["process 1 has not"], ["process 2 has not"]
    assert await second.succession.obey(Changes(file=True), 3) == ["process 2 has not", "process 1 has not"]

    async def broken(changes: Changes) -> list[str]:
        raise ConfigError("it cannot")

    old.obey = broken  # type: ignore[method-assign]
    (line,) = await second.succession.tell(Changes(file=True))
    assert line == f"process {os.getpid()}, which was replaced, may not have taken it: in the program before it: it cannot"
    assert "has not taken it" not in "".join(said)
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_taken_over_is_told(first: Process, tmp_path: Path, said: list[str]) -> None:
    first.succession.subject = old = Subject(Kept(vms={"web1": "web1=/q"}))
    old.missed = ["process 4822 has not taken it"]
    second = await succeeded(first, tmp_path / "s", Subject(Kept()))
    await soon()
    assert "what was set at the program before this one is not taken: no such VM [config]" in said
    assert said[-1] == "process 4822 has not taken it"
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_a_port_that_the_new_one_has_not_is_kept_for_the_old_one(first: Process, tmp_path: Path) -> None:
    first.keeping.ports = [f"unix:{tmp_path}/s", "unix:/not/passed/on"]
    second = await succeeded(first, tmp_path / "other")
    assert second.keeping.kept_ports == [f"unix:{tmp_path}/s"]
    assert await accepts(tmp_path / "other") == b"second"
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_one_that_shuts_down_meanwhile_does_not_give_its_place(first: Process, tmp_path: Path) -> None:
    replacing = Deferred.fromCoroutine(first.succession.replace())
    first.keeping.fixed = "the daemon is shutting down"
    second = Process("second", tmp_path / "s", first.running[-1].link.dup())
    await soon()
    assert [str(error) for error in second.did] == ["the daemon is shutting down"]
    await second.stop()
    first.running[0].link.shutdown(socket.SHUT_RDWR)
    with pytest.raises(MigrationError, match="ended before it took over"):
        await replacing


@pytest_twisted.ensureDeferred
async def test_one_that_stops_ends_the_one_that_starts(first: Process) -> None:
    replacing = Deferred.fromCoroutine(first.succession.replace())
    first.succession.stopService()
    assert first.running[0].killed
    with pytest.raises(MigrationError, match="ended before it took over"):
        await replacing


@pytest_twisted.ensureDeferred
async def test_without_a_descriptor_nothing_changes(first: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("nbdtun.service.succession.succession.socket.socketpair", none)
    with pytest.raises(MigrationError, match="the new program cannot be started: Too many open files; nothing has changed"):
        await first.succession.replace()
    monkeypatch.undo()
    second = await succeeded(first, tmp_path / "s")
    await second.stop()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("encrypted", [True, False])
async def test_tls_does_not_come_or_go(first: Process, tmp_path: Path, encrypted: bool) -> None:
    """A source dials again with what it has dialled with before."""
    first.keeping.encrypted = encrypted
    replacing = Deferred.fromCoroutine(first.succession.replace())
    second = Process("second", tmp_path / "s", first.running[-1].link.dup())
    second.keeping.encrypted = not encrypted
    await soon()
    assert [str(error).partition(":")[0] for error in second.did] == [
        f"the program before this one has {'TLS, and this one has none' if encrypted else 'no TLS, and this one has some'}"
    ]
    await second.stop()
    first.running[0].link.shutdown(socket.SHUT_RDWR)
    with pytest.raises(MigrationError):
        await replacing
    assert await accepts(tmp_path / "s") == b"first"
