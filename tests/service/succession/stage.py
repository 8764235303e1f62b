"""Processes of a daemon, all in one: what a succession knows of each, and who of them accepts."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nbdtun.config import TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.errors import ConfigError, LinkLost, NbdtunError
from nbdtun.service.control.changes import Changes, Kept
from nbdtun.service.local import heritage
from nbdtun.service.local.listening import ListeningService
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
