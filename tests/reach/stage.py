"""An ssh that runs the remote command here, and what the tests put in its place."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.protocol import Protocol

from nbdtun.config.ssh import SSHAddress
from nbdtun.reach import command
from nbdtun.reach.far import Asked, DoorFactory, MakerTalk
from nbdtun.reach.host import Host
from nbdtun.reach.maker import Json

SECRET = b"s" * 32

ADDRESS = SSHAddress("dest", "me", 2222)

#: Runs its last argument in a shell, as sshd does, and writes down all of them.
SCRIPT = """\
#!/bin/sh
printf '%s\\n' "$*" >> {log}
for last; do :; done
{before}
exec sh -c "$last"
"""


class FakeSSH:
    """Takes ssh's place; ``before`` is what it does first, and ``calls`` are its command lines."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = directory / "ssh"
        self._log = directory / "ssh.log"
        self.does("")
        monkeypatch.setattr(command, "SSH", f"{self._path}")

    def does(self, before: str) -> None:
        """From now on it does this first."""
        self._path.write_text(SCRIPT.format(log=self._log, before=before))
        self._path.chmod(0o755)

    def calls(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


def host(remote: str = "nbdtun") -> Host:
    return Host(reactor, ADDRESS, remote)


class FakeReceiver:
    """A receiver at a door in ``directory``, which remembers what it was asked for."""

    def __init__(self, directory: Path) -> None:
        self.reactor: Any = reactor
        self.asked: list[Any] = []
        self.error: Exception | None = None
        self.talks: list[MakerTalk] = []
        self.linked: list[tuple[Any, bytes]] = []
        self._path = directory / "door.sock"
        self._port: Any = None

    @property
    def host(self) -> Host:
        """A host where nbdtun is a relay to the door."""
        lines = ("import socket, sys", "from nbdtun.reach.relay import relay", "sock = socket.socket(socket.AF_UNIX)")
        program = "; ".join((*lines, f"sock.connect({str(self._path)!r})", "relay(sock)"))
        return host(f"exec {shlex.join([sys.executable, '-c', program])} #")

    async def open(self) -> None:
        self._port = await UNIXServerEndpoint(reactor, str(self._path)).listen(DoorFactory(self))

    async def close(self) -> None:
        for talk in self.talks:
            talk.hang_up()
        for transport, _ in self.linked:
            transport.abortConnection()
        await self._port.stopListening()

    async def receive(self, asked: Asked) -> dict[str, Any]:
        self._ask(asked)
        addresses = [{"address": "192.0.2.7"}]
        return {"certificate": b"der", "name": "far", "port": 7, "addresses": addresses, "secret": SECRET, "waits": True}

    async def look(self, wanted: Json) -> Json:
        self._ask(("look", wanted))
        return {"found": wanted}

    async def make(self, plan: Json) -> str:
        self._ask(("make", plan))
        return "/run/made.qmp"

    async def remove(self) -> None:
        self._ask("remove")

    async def keep(self) -> None:
        self._ask("keep")

    def acknowledge(self, certificate: bytes, *, settled: bool) -> None:
        self.asked.append((certificate, settled))

    def enter(self, talk: MakerTalk) -> None:
        self.talks.append(talk)

    def secrets(self) -> list[bytes]:
        return [b"other", SECRET]

    def link(self, transport: Any, secret: bytes) -> None:
        self.linked.append((transport, secret))
        transport.protocol = Echo()
        transport.protocol.makeConnection(transport)
        transport.resumeProducing()

    def _ask(self, what: Any) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
