"""A receiver that runs in this process, and near ends that ask it."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint

from nbdtun.config import TunnelSettings
from nbdtun.errors import NotMigratable
from nbdtun.migration.destination.life import State
from nbdtun.ownership.reach import reach
from nbdtun.process import adopt, quiet_factory
from nbdtun.reach.commands import Acknowledge, Receive
from nbdtun.reach.greeting import TALK, Calling
from nbdtun.reach.maker import Json
from nbdtun.reach.near import Talk
from nbdtun.reach.relay import door_path
from nbdtun.service.door import serve_at_door
from nbdtun.service.local.outcomes import Outcomes
from nbdtun.service.receive import Receiver
from nbdtun.service.tunnel.build import make_runtime
from nbdtun.tls.throwaway import Identity
from nbdtun.tls.trust import Pinned
from nbdtun.tunnel.source.dialer import Dialer

SESSION = "a" * 32


class FakeMaker:
    """Says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def look(self, wanted: Json) -> Json:
        self.asked.append(wanted)
        return {"free": 7}

    async def make(self, plan: Json) -> str:
        if plan.get("bad"):
            raise NotMigratable("no such machine")
        self.asked.append(plan)
        return "/run/made.qmp"

    async def remove(self) -> None:
        self.asked.append("remove")

    async def keep(self) -> None:
        self.asked.append("keep")


class Near:
    """A near end that is connected to the receiver."""

    def __init__(self) -> None:
        self.talk = Talk(reactor)
        self.identity = Identity.make()

    async def connect(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        calling = Calling(TALK)
        with sock:
            adopt(reactor, sock, quiet_factory(lambda: calling))
        (await calling.met).check()
        calling.give_way(self.talk)

    async def receive(self, **changed: Any) -> dict[str, Any]:
        asked = {"certificate": self.identity.certificate, "qmp": "", "targets": [], "ports": "", "resume_window": 60_000}
        return await self.talk.ask(Receive, seconds=5, **{**asked, **changed})

    async def leave(self, *, settled: bool = True) -> None:
        await self.talk.ask(Acknowledge, seconds=5, certificate=self.identity.certificate, settled=settled)
        self.talk.hang_up()


class Scene:
    """A receiver that runs; ``over`` fires when it has ended."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.maker = FakeMaker()
        self.receiver = Receiver(reactor, "web1", base, Outcomes(base / "state"), self.maker)
        self.ready: Deferred[None] = Deferred()
        self.near = Near()
        self.over: Deferred[None] = Deferred()

    async def begin(self) -> None:
        ours, theirs = socket.socketpair()
        self.over = Deferred.fromCoroutine(serve_at_door(self.receiver, theirs, lambda: self.ready.callback(None)))
        await self.ready
        await self.near.connect(ours)

    async def join(self) -> Near:
        near = Near()
        await near.connect(reach(f"{door_path(self.base, 'web1')}"))
        return near


def ends(scene: Scene, state: State, ident: str = SESSION) -> None:
    """The VM's last session has ended."""
    assert scene.receiver._destination is not None
    session: Any = SimpleNamespace(ident=ident, state=state, fate=SimpleNamespace(hurry=lambda: None), cleaned_up=succeed(None))
    scene.receiver._destination.sessions.register.latest["web1"] = session


def dialer(near: Near, answer: dict[str, Any], identity: Identity | None = None) -> Dialer:
    context = (identity or near.identity).asking(answer["certificate"])
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", answer["port"])
    return Dialer(make_runtime(reactor, TunnelSettings()), endpoint, "it", Pinned(lambda: context), answer["name"])
