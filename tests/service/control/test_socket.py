"""The control socket, over a real UNIX socket: who may use it, what is answered, and what is left of it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from nbdtun.errors import ConfigError, MigrationError, NoAnswer, NotMigratable
from nbdtun.ownership import directories
from nbdtun.service.control import client
from nbdtun.service.control.client import ask, reports
from nbdtun.service.control.commands import Cancel, Reload, Report, Serve, Set, Status, Yield
from nbdtun.service.control.socket import MAX_CLIENTS, ControlSocket
from tests.service.control.stage import Controllable, Yielding, named, opened


def left(base: Path) -> list[str]:
    return sorted(path.name for path in base.rglob("*"))


@pytest_twisted.ensureDeferred
async def test_it_is_private_answers_and_goes_away(base: Path) -> None:
    subject = Controllable()
    control = await opened(base, subject)
    path = Path(named("web1").path(base))
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert await ask(reactor, base, "web1") == subject.report()
    await ask(reactor, base, "web1", Set, bandwidth=7)
    await ask(reactor, base, "web1", Set, downtime=300, bandwidth=0)
    await ask(reactor, base, "web1", Set, switchover=0)
    assert subject.changes == [(7, None, None), (0, 300, None), (None, None, 0)]
    assert await reports(reactor, base) == [subject.report()]
    await control.close()
    await control.close()
    assert left(base) == []
    with pytest.raises(ConfigError, match=r"web1: no such migration or daemon of this user is running here"):
        await ask(reactor, base, "web1")
    assert await reports(reactor, base) == []


@pytest_twisted.ensureDeferred
async def test_it_goes_away_where_another_process_keeps_the_directory_locked(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "PATIENCE", 0.02)
    control = await opened(base, Controllable())
    with directories.locked(str(base)):
        await control.close()
    assert left(base) == ["control"]


@pytest_twisted.ensureDeferred
async def test_what_is_for_daemons_is_refused_by_a_migration(base: Path) -> None:
    control = await opened(base, Controllable())
    for command, arguments in ((Reload, {}), (Serve, {"vms": {"add": [], "remove": []}})):
        with pytest.raises(MigrationError, match="web1: this is a migration, and only a daemon can do that"):
            await ask(reactor, base, "web1", command, **arguments)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_who_cancels_waits_for_the_end(base: Path) -> None:
    subject = Controllable()
    control = await opened(base, subject)
    answers: list[Any] = []
    ending: Deferred[Any] = ensureDeferred(ask(reactor, base, "web1", Cancel))
    ending.addBoth(answers.append)
    while not subject.ending:
        await deferLater(reactor, 0.01)
    assert answers == []
    await control.close()
    while not answers:
        await deferLater(reactor, 0.01)
    assert answers == [subject.report()]
    assert left(base) == []


@pytest_twisted.ensureDeferred
async def test_one_for_each_vm(base: Path) -> None:
    first, other = await opened(base, Controllable()), await opened(base, Controllable("web2"))
    with pytest.raises(NotMigratable, match="web1 is being migrated by another process"):
        await opened(base, Controllable())
    assert [report["name"] for report in await reports(reactor, base)] == ["web1", "web2"]
    await first.close()
    assert left(base) == ["control", Path(named("web2").path(base)).name]
    again = await opened(base, Controllable())
    await again.close()
    await other.close()
    assert left(base) == []


@pytest_twisted.ensureDeferred
async def test_one_vm_has_one_under_whatever_name_and_two_vms_may_have_one_name(base: Path) -> None:
    first = await opened(base, Controllable())
    alias = ControlSocket(reactor, str(base), named("db1", "/run/web1.qmp"), Controllable("db1"))
    with pytest.raises(NotMigratable, match=r"^db1 is being migrated by another process \(pid [0-9]+\), as web1; "):
        await alias.open()
    namesake = ControlSocket(reactor, str(base), named("web1", "/run/other.qmp"), Controllable())
    await namesake.open()
    assert [report["name"] for report in await reports(reactor, base)] == ["web1", "web1"]
    await namesake.close()
    await first.close()
    assert left(base) == []


@pytest_twisted.ensureDeferred
async def test_what_a_killed_process_left_is_swept(base: Path) -> None:
    (base / "control").mkdir(parents=True, mode=0o700)
    for name in ("web1", "web2"):
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(named(name).path(base))
        dead.close()
    control = await opened(base, Controllable())
    assert left(base) == ["control", Path(named("web1").path(base)).name]
    await control.close()


@pytest_twisted.ensureDeferred
async def test_a_directory_that_others_can_use_is_refused(base: Path) -> None:
    (base / "control").mkdir(parents=True)
    (base / "control").chmod(0o711)
    with pytest.raises(ConfigError, match="it must be this user's own directory with mode 0700; choose another with --run-dir"):
        await opened(base, Controllable())
    with pytest.raises(ConfigError, match="mode 0700"):
        await reports(reactor, base)


@pytest_twisted.ensureDeferred
async def test_garbage_and_crowds_do_no_harm(base: Path) -> None:
    control = await opened(base, Controllable())
    path = named("web1").path(base)
    with socket.socket(socket.AF_UNIX) as babbler:
        babbler.connect(path)
        babbler.sendall(b"\xff" * 4096)
        babbler.setblocking(False)
        while await readable(babbler):
            pass
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CLIENTS)]
    for one in crowd:
        one.connect(path)
    await deferLater(reactor, 0.05)
    with pytest.raises(Exception, match="ended without answering"):
        await ask(reactor, base, "web1", Status)
    for one in crowd:
        one.close()
    await deferLater(reactor, 0.05)
    assert (await ask(reactor, base, "web1"))["name"] == "web1"
    await control.close()


@pytest_twisted.ensureDeferred
async def test_a_process_that_does_not_answer(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.1)
    control = await opened(base, Controllable())
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(named("web2").path(base))
        stopped.listen()
        late = "web2: its process has not answered for 0.1 s; is it stopped?"
        with pytest.raises(NoAnswer, match=late.replace("?", r"\?")):
            await ask(reactor, base, "web2")
        assert [report.get("error") for report in await reports(reactor, base)] == [None, late]
    await control.close()


@pytest_twisted.ensureDeferred
async def test_what_goes_wrong_there_is_told_as_of_a_process(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def change(bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> None:
        raise ConfigError("/run is read-only")

    subject = Controllable()
    control = await opened(base, subject)
    monkeypatch.setattr(subject, "change", change)
    with pytest.raises(MigrationError) as caught:
        await ask(reactor, base, "web1", Set, bandwidth=7)
    assert str(caught.value) == f"in process {os.getpid()}: /run is read-only"
    await control.close()


@pytest_twisted.ensureDeferred
async def test_what_is_no_migration_cannot_give_way(base: Path) -> None:
    migration, other = Yielding(), Controllable("web2")
    controls = [await opened(base, each) for each in (migration, other)]
    assert (await ask(reactor, base, "web1", Yield, bandwidth=7))["name"] == "web1"
    assert migration.yielded == [7]
    with pytest.raises(MigrationError, match="web2: it is no migration"):
        await ask(reactor, base, "web2", Yield, bandwidth=7)
    for control in controls:
        await control.close()


async def readable(sock: socket.socket) -> bool:
    """False once the other end has hung up."""
    await deferLater(reactor, 0.01)
    try:
        return bool(sock.recv(1000))
    except BlockingIOError:
        return True


def test_a_report_that_is_too_large_goes_without_its_disks() -> None:
    report = {"name": "web1", "progress": {"phase": "mirror", "disks": [{"node": "x" * 70_000}]}}
    argument = Report()
    left = {"name": "web1", "progress": {"phase": "mirror", "disks": []}, "left_out": ["disks"]}
    assert argument.fromString(argument.toString(report)) == left


def test_a_report_that_is_too_large_goes_without_its_longest_lists() -> None:
    report = {"name": "nbdtun-dest", "vms": ["x" * 70] * 2000, "sessions": ["x" * 70] * 1000, "targets": ["nbd"]}
    argument = Report()
    left = {"name": "nbdtun-dest", "vms": [], "sessions": [], "targets": ["nbd"], "left_out": ["vms", "sessions"]}
    assert argument.fromString(argument.toString(report)) == left
