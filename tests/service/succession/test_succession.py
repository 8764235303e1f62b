"""Two processes of a daemon, here in one: who accepts, who is asked, and what happens where one of them fails."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nbdtun.config import TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.errors import ConfigError, LinkLost, MigrationError, NbdtunError
from nbdtun.service.control.changes import Changes, Kept
from nbdtun.service.local import heritage
from nbdtun.service.local.listening import ListeningService
from nbdtun.service.succession import earlier as earlier_module
from nbdtun.service.succession.earlier import Earlier
from nbdtun.service.succession.place import Surroundings
from nbdtun.service.succession.succession import Succession
from nbdtun.service.tunnel.build import make_listener
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.elsewhere import Passed, Share
from nbdtun.tunnel.runtime.throttle import Throttle

WHO = Caller("192.0.2.1:7", "192.0.2.1")


class Keeping:
    """What a daemon's process has, as a succession knows it."""

    def __init__(self) -> None:
        self.replaced_by: int | None = None
        self.throttle = Throttle(reactor)
        self.fixed = ""
        self.finished = False
        self.earlier: Earlier | None = None
        self.begun = False
        self.passed: list[Passed] = []
        self.controls: list[bytes] = []
        self.users = {"uid 1000": 3}
        self.figures: dict[str, Any] = {}
        self.heard: list[Mapping[str, int]] = []
        self.measured: list[Mapping[str, Any]] = []
        self.ports: list[str] = []
        self.kept_ports: list[str] = []
        self.encrypted: bool | None = None

    def keep_port(self, label: str) -> None:
        self.kept_ports.append(label)
        renounced = heritage.claim(label)
        assert renounced is not None
        os.close(renounced)

    def follow(self, earlier: Earlier) -> None:
        self.earlier = earlier

    def took_over(self) -> None:
        self.begun = True

    def counted(self, users: Mapping[str, int], figures: Mapping[str, Any]) -> None:
        self.heard.append(users)
        self.measured.append(figures)

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        return Share(ident == b"i" * 16, target == "nbd", 3, len(owner))

    def adopt(self, passed: Passed) -> None:
        if passed.box == b"bad":
            raise LinkLost("it is gone")
        self.passed.append(passed)

    async def whose(self, vm: str | None, session: str | None, uuid: str | None = None) -> tuple[bool, int]:
        return vm == "web1" or uuid == "1", 2

    def adopt_control(self, sock: socket.socket, said: bytes, caller: Caller) -> None:
        sock.close()
        self.controls.append(said)


class Subject:
    """What is governed: it has a limit, and may refuse another."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.obeyed: list[Changes] = []
        self.went_on: list[Kept] = []
        self.missed: list[str] = []

    async def obey(self, changes: Changes) -> list[str]:
        self.obeyed.append(changes)
        return self.missed

    def go_on(self, kept: Kept) -> None:
        self.went_on.append(kept)
        if kept.vms:
            raise ConfigError("no such VM")


class Running:
    """A process that was started; here it is none."""

    pid = 4822

    def __init__(self, link: socket.socket) -> None:
        self.link = link.dup()
        self.killed = False

    def kill(self) -> None:
        self.killed = True


class Process:
    """A process of a daemon, which listens at ``path``, and answers each connection with its ``name``."""

    def __init__(self, name: str, path: Path, link: socket.socket | None = None, fixed: str = "", subject: Subject | None = None) -> None:
        self.keeping, self.did, self.running = Keeping(), list[Any](), list[Running]()

        def greet() -> Protocol:
            greeting = Protocol()
            greeting.connectionMade = lambda: (greeting.transport.write(name.encode()), greeting.transport.loseConnection())  # type: ignore[method-assign, union-attr]
            return greeting

        factory: Factory[Any] = Factory()
        factory.buildProtocol = lambda addr: greet()  # type: ignore[method-assign]
        endpoint = make_listener(reactor, parse(f"unix:{path}", Role.LISTEN), TunnelSettings(run_dir="/run/x"))
        self.listening = ListeningService(endpoint, factory)
        around = Surroundings(self._start, self._main, self._leave, lambda: self.did.append("stop"), self._fail)
        self.keeping.fixed = fixed
        self.bucket = -1
        self.succession = Succession(reactor, self.keeping, lambda: [self.listening], around, link)
        self.succession.subject = subject
        self.listening.startService()
        self.succession.startService()

    def _start(self, link: socket.socket, listeners: Mapping[str, int]) -> Running:
        for label, descriptor in listeners.items():
            if label == heritage.BUCKET:
                self.bucket = descriptor
                continue
            heritage._left[label] = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM).detach()
        self.running.append(Running(link))
        return self.running[-1]

    def _main(self, pid: int) -> None:
        self.did.append(pid)

    def _leave(self, at_once: bool) -> None:
        self.did.append("at once" if at_once else "leave")

    def _fail(self, error: NbdtunError) -> None:
        self.did.append(error)

    async def stop(self) -> None:
        self.succession.stopService()
        if self.listening.running:
            await maybeDeferred(self.listening.stopService)
        for each in self.running:
            each.link.close()


@pytest_twisted.async_yield_fixture
async def first(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process("first", tmp_path / "s")
    yield process
    await process.stop()
    heritage.renounce()


async def accepts(path: Path) -> bytes:
    """Who accepts there."""

    def connect() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(f"{path}")
            return sock.recv(100)

    return await deferToThread(connect)


async def soon() -> None:
    await deferLater(reactor, 0.05)


def kill(middle: Process) -> None:
    """It is gone, to those before and after it."""
    middle.succession.stopService()
    assert middle.keeping.earlier is not None
    middle.keeping.earlier.hang_up()


async def succeeded(first: Process, path: Path, subject: Subject | None = None, **options: Any) -> Process:
    replacing = Deferred.fromCoroutine(first.succession.replace(**options))
    second = Process("second", path, first.running[-1].link.dup(), subject=subject)
    assert await replacing == {"successor": Running.pid}
    return second


@pytest_twisted.ensureDeferred
async def test_the_new_one_accepts_and_the_old_one_answers(first: Process, tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert await accepts(path) == b"first"
    second = await succeeded(first, path)
    assert await accepts(path) == b"second"
    assert second.keeping.begun
    assert first.bucket == first.keeping.throttle.share()
    assert first.keeping.replaced_by == Running.pid
    assert first.did == [Running.pid]
    earlier = second.keeping.earlier
    assert earlier is not None
    assert await earlier.look(b"i" * 16, "nbd", "me") == Share(True, True, 3, 2)
    assert await earlier.whose("web1", None) == (True, 2)
    assert await earlier.whose(None, "5" * 32) == (False, 2)
    assert await earlier.whose(None, "5" * 32, "1") == (True, 2)
    ours, theirs = socket.socketpair()
    await earlier.take(Passed(ours, None, WHO, b"a box"))
    (passed,) = first.keeping.passed
    assert ours.fileno() == -1
    assert (passed.caller, passed.box, passed.state) == (WHO, b"a box", None)
    passed.sock.send(b"over there")
    assert theirs.recv(100) == b"over there"
    passed.sock.close()
    await earlier.take_control(theirs, b"said", WHO)
    assert first.keeping.controls == [b"said"]
    with pytest.raises(LinkLost, match=r"192\.0\.2\.1:7: it is gone"):
        await earlier.take(Passed(socket.socket(), None, WHO, b"bad"))
    with pytest.raises(MigrationError, match=f"this program was replaced; ask @{Running.pid}"):
        await first.succession.replace()
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_not_asked_for_a_while(first: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier_module, "LOOK_SECONDS", 0.05)
    second = await succeeded(first, tmp_path / "s")
    earlier, never = second.keeping.earlier, Deferred[Share]()

    async def hang(*_: object) -> Share:
        return await never

    monkeypatch.setattr(first.keeping, "look", hang)
    assert earlier is not None
    with pytest.raises(LinkLost, match=r"the program before this one has not answered Look for 0\.05 s"):
        await earlier.look(b"i" * 16, "nbd", "me")
    with pytest.raises(LinkLost, match="the program before this one does not answer"):
        await earlier.look(b"i" * 16, "nbd", "me")
    never.callback(Share())
    monkeypatch.undo()
    earlier._hangs_until = 0.0
    assert (await earlier.look(b"i" * 16, "nbd", "me")).channel
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
async def test_one_in_the_middle_that_is_killed_leaves_no_place(first: Process, tmp_path: Path, said: list[str]) -> None:
    """Another process has it, and asks the first one from then on; only if that one is gone as well, it comes back."""
    path = tmp_path / "s"
    second = await succeeded(first, path)
    third = await succeeded(second, path)
    await soon()
    kill(second)
    await soon()
    assert await accepts(path) == b"second"  # so the third one is called
    assert os.getpid() not in first.did
    assert first.keeping.replaced_by == Running.pid
    assert said[-1] == "process 4822 is gone, through which lost links came back here: from now on they come through process 4822"
    with pytest.raises(MigrationError, match="this program was replaced"):
        await first.succession.replace()
    elder = third.keeping.earlier
    assert elder is not None
    assert (await elder.look(b"i" * 16, "none", "")).channel
    assert third.keeping.heard[-1] == first.keeping.users
    await third.stop()
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_the_place_comes_back_through_all_of_them(first: Process, tmp_path: Path) -> None:
    path = tmp_path / "s"
    second = await succeeded(first, path)
    third = await succeeded(second, path)
    await soon()
    for each in (third, second):
        each.listening._port.stopReading()
        assert each.keeping.earlier is not None
        each.keeping.earlier.hang_up()
        await soon()
    assert await accepts(path) == b"first"
    assert first.keeping.replaced_by is None
    await third.stop()
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
