"""The targets of an arrival, and the gate before this host's libvirt."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from nbdtun.errors import TargetUnknown, TargetUnreachable
from nbdtun.libvirt.rpc.messages import Kind, Message, Status
from nbdtun.libvirt.rpc.places import places
from nbdtun.libvirt.values import Image, Wanted
from nbdtun.migration.bond import Bond, proof_of
from nbdtun.service.libvirt.destination import MOST, Doorkeeper, GateTarget, TunnelDoors, grant_of, socket_of
from nbdtun.tunnel.channels.figures import Figures
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.targets import Targets
from tests.libvirt.rpc.stage import DISK, DISKS, MEMORY, UUID_TEXT, domain, finish, opening, prepare

SECRET = b"s" * 32
CALLER = Caller("peer", "address", "id", "source", frozenset({"source"}))


class Arriving:
    """An arrival of web1 that is made ready."""

    session, uri, owner = "0123456789abcdef" * 2, "qemu+unix:///system?socket=/run/x-sock", None
    bond = Bond("source", proof_of(SECRET))
    wanted = Wanted("web1", UUID_TEXT, domain(), (Image("vda", DISK, "qcow2", 1 << 20),))
    memory, disks = MEMORY.removeprefix("unix://"), DISKS.removeprefix("unix://")

    def handing_over(self) -> None:
        pass

    def answered(self, *, runs: bool) -> None:
        pass


class Tunnel:
    """A destination's end of a tunnel, as far as doors use it."""

    def __init__(self) -> None:
        self.targets, self.ended = Targets(), list[str]()

    def reset(self, name: str, why: str) -> None:
        self.ended.append(name)

    def forget(self, name: str) -> None:
        pass


def reply(to: Message, status: Status = Status.OK) -> Message:
    return Message(to.program, to.version, to.procedure, Kind.REPLY, to.serial, status)


def arriving(**changes: Any) -> Any:
    return type("Arrival", (Arriving,), changes)()


def test_only_its_source_comes_through_the_doors(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    (tmp_path / "session/memory.sock").touch()
    tunnel: Any = Tunnel()
    doors = TunnelDoors(reactor, tunnel, arriving(memory=f"{tmp_path}/session/memory.sock"))
    names = doors.open()
    assert [name.partition(".")[0] for name in names] == ["libvirt", "memory", "disks"]
    for name in names:
        assert tunnel.targets.find(name, CALLER, SECRET)
        with pytest.raises(TargetUnknown):
            tunnel.targets.find(name, CALLER, b"x" * 32)
    doors.close("over")
    doors.close("over")
    assert tunnel.ended == list(names)
    with pytest.raises(TargetUnknown):
        tunnel.targets.find(names[0], CALLER, SECRET)
    assert os.listdir(tmp_path) == []


def test_what_was_agreed_on_is_granted() -> None:
    grant = grant_of(arriving())
    assert (grant.name, f"{grant.uuid}", grant.uri, grant.memory, grant.disks) == ("web1", UUID_TEXT, "qemu:///system", MEMORY, DISKS)
    assert grant.places == places(domain())
    assert grant_of(arriving(wanted=Wanted("web1", UUID_TEXT, domain()))).disks == ""
    more = domain("<interface type='network'><source network='blue'/></interface>")
    both = grant_of(arriving(wanted=Wanted("web1", UUID_TEXT, domain(), persistent=more)))
    assert both.places == places(domain()) | places(more)
    assert "interface:network:blue" in both.places


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await deferLater(reactor, 0.05)
    raise TimeoutError


@pytest_twisted.ensureDeferred
async def test_a_migration_has_few_connections_to_libvirt_and_its_own_links(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as libvirtd:
        libvirtd.bind(f"{tmp_path}/x-sock")
        libvirtd.listen()
        arrival = arriving(uri=f"qemu+unix:///system?socket={tmp_path}/x-sock")
        own, other = (type("Channel", (), {"target": name, "figures": Figures()})() for name in "lo")
        tunnel: Any = type("Tunnel", (), {"channels": [own, other]})
        target = GateTarget(reactor, tunnel, arrival, grant_of(arrival))
        opened = [await target.connect("l") for _ in range(MOST)]
        accepted = [libvirtd.accept()[0] for _ in range(MOST)]
        with pytest.raises(TargetUnreachable, match="4 connections of this migration lead to libvirt already"):
            await target.connect("l")
        opened.pop(0).close()
        accepted[0].close()
        await until(lambda: target._open < MOST)
        opened.append(await target.connect("l"))
        other.figures = Figures(since=1.0)
        assert not target._is_away("l")
        own.figures = Figures(since=1.0)
        assert target._is_away("l")
        for each in (*opened, *accepted[1:], libvirtd.accept()[0]):
            each.close()
        await until(lambda: target._open == 0)
    with pytest.raises(TargetUnreachable):
        await target.connect("l")
    assert target._open == 0


def test_the_handover_is_known_before_libvirt_is_told() -> None:
    told: list[str] = []
    gate = Doorkeeper(grant_of(arriving()), lambda: told.append("handover"), lambda **runs: told.append(f"{runs}"))
    for message in (opening(), prepare()):
        assert gate.call(message) is None
    assert told == []
    assert gate.call(finish()) is None
    assert told == ["handover"]


@pytest.mark.parametrize(("status", "runs"), [(Status.OK, True), (Status.ERROR, False)])
def test_and_what_libvirt_answers(status: Status, runs: bool) -> None:
    told: list[str] = []
    gate = Doorkeeper(grant_of(arriving()), lambda: None, lambda **runs: told.append(f"{runs}"))
    assert gate.call(prepare()) is None
    assert gate.answer(reply(prepare()))
    assert gate.call(finish()) is None
    assert told == []
    assert gate.answer(reply(finish(), status))
    assert told == [f"{{'runs': {runs}}}"]


def test_an_end_without_a_guest_is_no_handover() -> None:
    told: list[str] = []
    gate = Doorkeeper(grant_of(arriving()), lambda: told.append("handover"), lambda **runs: told.append(f"{runs}"))
    assert gate.call(prepare()) is None
    message = finish()
    assert gate.call(type(message)(*_with(message, message.body[:-1] + b"\1"))) is None
    assert told == []


def test_where_it_cannot_be_written_down_libvirt_is_not_told() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    gate = Doorkeeper(grant_of(arriving()), fail, fail)
    assert gate.call(prepare()) is None
    answer = gate.call(finish())
    assert answer is not None
    assert b"the handover cannot be written down: the disk is full" in answer.body


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("qemu+unix:///system?socket=/run/x-sock", "/run/x-sock"),
        ("qemu:///session", "{}/libvirt/virtqemud-sock"),
    ],
)
def test_where_libvirt_listens(uri: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}")
    (tmp_path / "libvirt").mkdir()
    (tmp_path / "libvirt/virtqemud-sock").touch()
    assert socket_of(uri) == path.format(tmp_path)


def _with(message: Any, body: bytes) -> tuple[Any, ...]:
    return message.program, message.version, message.procedure, message.kind, message.serial, message.status, body
