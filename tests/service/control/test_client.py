"""What is asked of the processes that run here: by name, by number, of all; and of one that does not answer."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from nbdtun.errors import ConfigError, MigrationError, NoAnswer, TooLate, VersionMismatch
from nbdtun.process import Reactor
from nbdtun.service.control import client
from nbdtun.service.control import socket as module
from nbdtun.service.control.client import ask, nothing, reports
from nbdtun.service.control.commands import LOCAL, Cancel, Set
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from tests.service.control.stage import Controllable, named, opened


class Stopped(Controllable):
    """One whose process was stopped, or whose QEMU hangs."""

    async def change(self, bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> None:
        await super().change(bandwidth, downtime, switchover)
        await Deferred()


@pytest_twisted.ensureDeferred
async def test_a_process_of_a_later_release(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes down to this command's version if it can; if it cannot, its line says why, and those of others stand."""
    control = await opened(base, Controllable())
    monkeypatch.setattr(module, "LOCAL", evolve(LOCAL, highest=3, features=frozenset({"ghosts"})))
    assert (await ask(reactor, base, "web1"))["name"] == "web1"
    monkeypatch.setattr(module, "LOCAL", evolve(LOCAL, lowest=2, highest=3))
    line = f"the command speaks version 1 of the control socket's protocol, process {os.getpid()} versions 2 to 3"
    with pytest.raises(VersionMismatch, match=line):
        await ask(reactor, base, "web1")
    assert await reports(reactor, base) == [{"name": "web1", "error": f"{line}; the command needs a newer release of nbdtun"}]
    await control.close()


@pytest_twisted.ensureDeferred
async def test_errors_arrive_as_what_they_are(base: Path) -> None:
    subject = Controllable()
    subject.late = True
    control = await opened(base, subject)
    with pytest.raises(TooLate, match="web1: too late"):
        await ask(reactor, base, "web1", Cancel)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_a_daemon_is_named_by_its_process(base: Path) -> None:
    daemon = Controllable("@4711")
    control = await opened(base, daemon)
    assert await ask(reactor, base, "@4711") == daemon.report()
    assert await reports(reactor, base) == [daemon.report()]
    await control.close()


@pytest_twisted.ensureDeferred
async def test_a_vms_name_is_never_taken_for_a_daemon(base: Path) -> None:
    """Some number their VMs."""
    daemon = await opened(base, Controllable("@4711"))
    with pytest.raises(ConfigError) as caught:
        await ask(reactor, base, "4711", Set, bandwidth=1)
    assert str(caught.value) == "4711: no migration of a VM of that name is running here; the daemon with that process id is @4711"
    vm = await opened(base, Controllable("4711"))
    assert (await ask(reactor, base, "4711"))["name"] == "4711"
    assert (await ask(reactor, base, "@4711"))["name"] == "@4711"
    await daemon.close()
    await vm.close()


@pytest.mark.parametrize("name", ["list", "all", "none", "help", "status", "control", "0", "nbdtun-dest", "x" * 64])
@pytest_twisted.ensureDeferred
async def test_no_name_means_anything_else(name: str, base: Path) -> None:
    other, control = await opened(base, Controllable("web1")), await opened(base, Controllable(name))
    assert (await ask(reactor, base, name))["name"] == name
    assert sorted(report["name"] for report in await reports(reactor, base)) == sorted([name, "web1"])
    await control.close()
    with pytest.raises(ConfigError, match="no such migration or daemon"):
        await ask(reactor, base, name)
    await other.close()


@pytest_twisted.ensureDeferred
async def test_two_vms_of_one_name_are_told_apart_by_their_monitors(base: Path) -> None:
    base.mkdir()
    monitors = [str(base / f"{number}.qmp") for number in "12"]
    controls = []
    for qmp in monitors:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.bind(qmp)
        control = ControlSocket(reactor, str(base), named("web1", qmp), Behind(qmp))
        await control.open()
        controls.append(control)
    with pytest.raises(ConfigError) as caught:
        await ask(reactor, base, "web1")
    assert str(caught.value).startswith("web1: 2 VMs of that name are being migrated here; name one by its monitor: ")
    for qmp in monitors:
        assert qmp in str(caught.value)
        assert (await ask(reactor, base, qmp))["qmp"] == qmp
    (base / "link.qmp").symlink_to(monitors[0])
    assert (await ask(reactor, base, f"{base}/link.qmp"))["qmp"] == monitors[0]
    for control in controls:
        await control.close()


class Behind(Controllable):
    """A migration of web1, whose monitor it tells."""

    def __init__(self, qmp: str) -> None:
        super().__init__()
        self._qmp = qmp

    def report(self) -> dict[str, Any]:
        return {**super().report(), "qmp": self._qmp}


@pytest_twisted.ensureDeferred
async def test_a_long_name_that_was_cut_is_still_a_whole_one(tmp_path: Path) -> None:
    base = tmp_path / ("d" * max(1, 60 - len(str(tmp_path))))
    names = ["x" * 63 + "1", "x" * 63 + "2"]
    controls = [await opened(base, Controllable(name)) for name in names]
    for name in names:
        assert (await ask(reactor, base, name))["name"] == name
    for control in controls:
        await control.close()


@pytest_twisted.ensureDeferred
async def test_nobody_of_that_name(base: Path) -> None:
    assert nothing(base) == f"no migration or daemon of this user is running here ({base}/control); those of other users are not shown"
    assert await reports(reactor, base) == []
    with pytest.raises(ConfigError) as caught:
        await ask(reactor, base, "web1")
    what = f"web1: no such migration or daemon of this user is running here ({base}/control)"
    assert str(caught.value) == f"{what}; `nbdtun status` lists this user's"


@pytest.mark.parametrize("name", ["", "@", "@x", "--help", "web 1"])
@pytest_twisted.ensureDeferred
async def test_a_name_leads_nowhere_else(name: str, base: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a valid name|names no daemon"):
        await ask(reactor, base, name)


@pytest_twisted.ensureDeferred
async def test_who_has_asked_hangs_up(base: Path) -> None:
    control = await opened(base, Controllable())
    await ask(reactor, base, "web1")
    end = reactor.seconds() + 5
    while "0 clients" not in repr(control) and reactor.seconds() < end:
        await deferLater(reactor, 0.01)
    assert "0 clients" in repr(control)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_answer_is_not_waited_for(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.service.control.client.ANSWER_SECONDS", 0.1)
    control = await opened(base, Stopped())
    with pytest.raises(NoAnswer, match=r"web1: its process has not answered for 0.1 s; is it stopped\?"):
        await ask(reactor, base, "web1", Set, bandwidth=1)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_one_that_ends_meanwhile_has_no_answer(base: Path) -> None:
    subject = Stopped()
    control = await opened(base, subject)
    answers: list[Any] = []
    asking: Deferred[Any] = ensureDeferred(ask(reactor, base, "web1", Set, bandwidth=1))
    asking.addErrback(lambda failure: answers.append(failure.value))
    while not subject.changes:
        await deferLater(reactor, 0.01)
    await control.close()
    await asking
    assert [str(answer) for answer in answers] == ["web1: its process ended without answering"]


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_answer_does_not_hide_the_others(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web2 = Controllable("web2")
    first, other = await opened(base, Controllable()), await opened(base, web2)

    async def silent(reactor: Reactor, base: Path, name: Name, whom: str, *more: Any) -> dict[str, Any]:
        if whom == "web1":
            raise MigrationError("web1: its process has not answered")
        told: dict[str, Any] = await asking(reactor, base, name, whom, *more)
        return told

    asking = client.ask_by_name
    monkeypatch.setattr(client, "ask_by_name", silent)
    found = await reports(reactor, base)
    assert found == [{"name": "web1", "error": "web1: its process has not answered"}, web2.report()]
    await first.close()
    await other.close()
