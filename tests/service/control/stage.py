"""Something that has a control socket, and is asked over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from nbdtun.errors import TooLate
from nbdtun.service.control.commands import ChangedVMs
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket


class Controllable:
    """Something that can be steered, and ends when it is told to, unless it is too late."""

    def __init__(self, name: str = "web1") -> None:
        self.name = name
        self.changes: list[tuple[int | None, int | None, int | None]] = []
        self.ending = False
        self.late = False

    def report(self) -> dict[str, Any]:
        return {"kind": "migration", "name": self.name, "pid": os.getpid(), "ending": self.ending}

    async def survey(self) -> dict[str, Any]:
        return self.report()

    async def change(self, bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> None:
        self.changes.append((bandwidth, downtime, switchover))

    def end(self) -> None:
        if self.late:
            raise TooLate(f"{self.name}: too late")
        self.ending = True


class Yielding(Controllable):
    """A migration that gives way."""

    def __init__(self, name: str = "web1") -> None:
        super().__init__(name)
        self.yielded: list[int] = []

    async def give_way(self, bandwidth: int) -> None:
        self.yielded.append(bandwidth)


class Serving(Controllable):
    """A daemon."""

    async def serve(self, vms: ChangedVMs) -> dict[str, Any]:
        return {"serves": [*vms.add]}

    async def reload(self) -> dict[str, Any]:
        return {"file": "/d.toml", "taken": [], "left": []}


def named(text: str, qmp: str = "") -> Name:
    """The name of a control socket as an operator writes it; each VM has its own monitor, unless another is given."""
    return Name("", text[1:]) if text.startswith("@") else Name.of_vm(text, qmp or f"/run/{text}.qmp")


async def opened(base: Path, subject: Controllable) -> ControlSocket:
    control = ControlSocket(reactor, str(base), named(subject.name), subject)
    await control.open()
    return control
