"""
The near end of the dialogue.

The first connection may ask its user at the terminal. It usually lasts as long as the work does. Where it is lost, the next question goes
over another one, which asks nobody.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.protocols import amp

from nbdtun.dialogue import Dialogue
from nbdtun.errors import ReachError
from nbdtun.logs import make_logger
from nbdtun.reach.child import Child
from nbdtun.reach.commands import Acknowledge, Keep, Look, Make, Receive, Remove
from nbdtun.reach.greeting import TALK
from nbdtun.reach.host import Host
from nbdtun.reach.maker import Json
from nbdtun.reach.relay import is_gone

#: Seconds for an answer: to a short question, and to one that makes images and starts a QEMU.
SOON: Final = 30.0
LONG: Final = 600.0


class Talk(Dialogue):
    """The near end's protocol: it asks, and answers nothing."""

    log = make_logger()
    failed = ReachError
    channel = "connection by ssh"
    other = "the far end"
    here = "here"


@frozen
class Listening:
    """
    Where and as whom the far end listens. ``waits`` is whether a QEMU waits there for the VM. ``secret`` proves both ends of a link through
    ssh.
    """

    certificate: bytes
    name: str
    port: int
    addresses: tuple[str, ...]
    secret: bytes
    waits: bool


class Questions:
    """The questions to a far end that receives from us, over whatever leads there. It is a :class:`~nbdtun.reach.maker.Maker`."""

    async def ask(self, command: type[amp.Command], seconds: float, **arguments: Any) -> dict[str, Any]:
        """
        Ask it.

        :raise NbdtunError: it reported it, or cannot be reached.
        """
        raise NotImplementedError

    async def look(self, wanted: Json) -> Json:
        """See :meth:`nbdtun.reach.maker.Maker.look`."""
        found: Json = (await self.ask(Look, LONG, wanted=wanted))["found"]
        return found

    async def make(self, plan: Json) -> str:
        """See :meth:`nbdtun.reach.maker.Maker.make`."""
        qmp: str = (await self.ask(Make, LONG, plan=plan))["qmp"]
        return qmp

    async def remove(self) -> None:
        """See :meth:`nbdtun.reach.maker.Maker.remove`."""
        await self.ask(Remove, LONG)

    async def keep(self) -> None:
        """See :meth:`nbdtun.reach.maker.Maker.keep`."""
        await self.ask(Keep, SOON)

    async def acknowledge(self, certificate: bytes, *, settled: bool) -> None:
        """The source with ``certificate`` needs nothing any more; if the outcome is ``settled``, it can be forgotten there."""
        await self.ask(Acknowledge, SOON, certificate=certificate, settled=settled)


class FarEnd(Questions):
    """The far end that ssh starts for one piece of work, called ``name`` there: a VM's name."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self._name = name
        self._talk: Talk | None = None
        self._child: Child | None = None
        self._lock = DeferredLock()  # one new connection at a time
        self.opened = False  #: it was reached

    def __repr__(self) -> str:
        return f"<FarEnd at {self.host.address} {'lost' if self._talk is None or self._talk.lost else 'connected'}>"

    async def open(self) -> None:
        """
        Connect, and start the far end unless it runs already. ssh may ask at the terminal.

        :raise NotInstalled: there is no nbdtun there, or one that speaks another version.
        :raise ReachError: it cannot be reached.
        """
        await self._open(attended=True)

    async def _open(self, *, attended: bool, join: bool = False) -> None:
        call = await self.host.call(words(self._name, join=join), TALK, attended=attended)
        self._talk, self._child, self.opened = Talk(self.host.reactor), call.child, True
        call.calling.give_way(self._talk)

    async def receive(
        self,
        certificate: bytes,
        *,
        qmp: str = "",
        targets: tuple[str, ...] = (),
        ports: str = "",
        resume_window: float = 300.0,
        libvirt: str = "",
    ) -> Listening:
        """
        Let it receive from the source with ``certificate``, and from no other; by its ``libvirt`` with that URI, if given.

        :raise NbdtunError: it cannot.
        """
        rows = [{"target": target} for target in targets]
        milliseconds = round(resume_window * 1000)
        asked = {"qmp": qmp, "targets": rows, "ports": ports, "resume_window": milliseconds, "libvirt": libvirt or None}
        answer = await self.ask(Receive, SOON, certificate=certificate, **asked)
        addresses = tuple(row["address"] for row in answer.pop("addresses"))
        return Listening(addresses=addresses, **answer)

    async def remove(self) -> None:
        """
        See :meth:`nbdtun.reach.maker.Maker.remove`.

        Where the far end has ended, another one is started: it knows by a record what is whose.
        """
        try:
            await super().remove()
        except ReachError as error:
            if not is_gone(error.what):
                raise
            await self.join(begin=True)
            await super().remove()

    async def ask(self, command: type[amp.Command], seconds: float, **arguments: Any) -> dict[str, Any]:
        """
        Ask it; by another connection, if the present one is lost.

        :raise NbdtunError: it reported it, or cannot be reached.
        """
        await self.join()
        assert self._talk is not None
        return await self._talk.ask(command, seconds=seconds, **arguments)

    async def join(self, *, begin: bool = False) -> None:
        """
        Connect again if the connection is lost; ``begin``: to another far end, if there is none any more.

        :raise ReachError: it cannot be reached, or has ended: see :func:`~nbdtun.reach.relay.is_gone`.
        """
        async with self._lock:
            if self._talk is None or self._talk.lost:
                await self.close()
                await self._open(attended=False, join=not begin)

    def when_lost(self) -> Deferred[Any]:
        """A Deferred that fires when there is no connection."""
        return succeed(None) if self._talk is None else self._talk.when_lost()

    async def close(self) -> None:
        """Hang up; the far end goes on until it has nothing to do. Safe to repeat."""
        talk, child, self._talk, self._child = self._talk, self._child, None, None
        if talk is not None:
            talk.hang_up()
        if child is not None:
            await child.end()


def words(name: str, *, join: bool) -> tuple[str, ...]:
    """The arguments of nbdtun at the far end, for a connection to the one that receives ``name``; only to ``join`` it, if it runs."""
    return ("receive", name, "--over-ssh", "join" if join else "start")
