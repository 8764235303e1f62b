"""
The far end of the dialogue, and its door: the socket to which the relays of ssh sessions connect.

Whoever can connect to the door is this user, or root. A connection says in its first line what it is for.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.python.failure import Failure

from nbdtun.dialogue import Dialogue
from nbdtun.errors import ProtocolViolation, ReachError
from nbdtun.logs import make_logger
from nbdtun.process import Reactor
from nbdtun.reach.commands import Acknowledge, Keep, Look, Make, Receive, Remove
from nbdtun.reach.greeting import MAX_LINE, far_proof, mark, near_proof, purpose
from nbdtun.reach.maker import Json

#: Seconds for the first line.
FIRST_LINE: Final = 10.0


@frozen
class Asked:
    """What the near end wants to be received: see :class:`~nbdtun.reach.commands.Receive`."""

    certificate: bytes
    qmp: str
    targets: tuple[str, ...]
    ports: str
    resume_window: float
    libvirt: str = ""


class Receiving(Protocol):
    """The receiver, as the dialogue and the door see it."""

    reactor: Reactor

    async def receive(self, asked: Asked) -> dict[str, Any]:
        """Be ready; returns the answer."""

    async def look(self, wanted: Json) -> Json:
        """See :meth:`nbdtun.reach.maker.Maker.look`."""

    async def make(self, plan: Json) -> str:
        """See :meth:`nbdtun.reach.maker.Maker.make`."""

    async def remove(self) -> None:
        """See :meth:`nbdtun.reach.maker.Maker.remove`."""

    async def keep(self) -> None:
        """See :meth:`nbdtun.reach.maker.Maker.keep`."""

    def acknowledge(self, certificate: bytes, *, settled: bool) -> None:
        """The source with this ``certificate`` needs nothing any more."""

    def enter(self, talk: MakerTalk) -> None:
        """A near end has connected."""

    def secrets(self) -> Iterable[bytes]:
        """The secrets of the sources."""

    def link(self, transport: Any, secret: bytes) -> None:
        """A connection has proved to be a link of the source with this ``secret``: take it over."""


class MakerTalk(Dialogue):
    """The far end's protocol for a source that it receives from: it only parses and answers. ``channel`` is what carries it."""

    log = make_logger()
    failed = ReachError
    channel = "channel to the receiver"
    other = "the near end"
    here = "at the far end"

    def __init__(self, receiver: Receiving) -> None:
        super().__init__(receiver.reactor)
        self._receiver = receiver

    def connectionMade(self) -> None:
        """A near end has connected."""
        super().connectionMade()
        self._receiver.enter(self)

    @Look.responder
    def look(self, wanted: Json) -> Deferred[Any]:
        return self._respond("found", lambda: self._receiver.look(wanted))

    @Make.responder
    def make(self, plan: Json) -> Deferred[Any]:
        return self._respond("qmp", lambda: self._receiver.make(plan))

    @Remove.responder
    def remove(self) -> Deferred[Any]:
        return self._respond("", self._receiver.remove)

    @Keep.responder
    def keep(self) -> Deferred[Any]:
        return self._respond("", self._receiver.keep)

    @Acknowledge.responder
    def acknowledge(self, certificate: bytes, settled: bool) -> dict[str, Any]:
        self._receiver.acknowledge(certificate, settled=settled)
        return {}

    def _respond(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        async def answer() -> dict[str, Any]:
            value = await work()
            return {name: value} if name else {}

        return self.respond(answer)


class FarTalk(MakerTalk):
    """The same for a near end that ssh has brought, which says first whom to receive from."""

    channel = "connection by ssh"

    @Receive.responder
    def receive(self, certificate: bytes, targets: list[dict[str, str]], resume_window: int, **asked: Any) -> Deferred[Any]:
        wanted = Asked(
            certificate, asked["qmp"], tuple(row["target"] for row in targets), asked["ports"], resume_window / 1000, asked["libvirt"] or ""
        )
        return self.respond(lambda: self._receiver.receive(wanted))


class Door(TwistedProtocol):
    """A new connection: reads its first line, and becomes the dialogue, or a link."""

    log = make_logger()

    def __init__(self, receiver: Receiving) -> None:
        self._receiver = receiver
        self._line = b""
        self._late: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for the line."""
        self._late = self._receiver.reactor.callLater(FIRST_LINE, self._abort)

    def dataReceived(self, data: bytes) -> None:
        """Take the line; nothing comes behind it before we have answered."""
        self._line += data
        if b"\n" not in self._line and len(self._line) <= MAX_LINE:
            return
        self._wait_no_longer()
        try:
            self._go_on(purpose(self._line))
        except ProtocolViolation as violation:
            self.log.warn("the door: {reason}", reason=str(violation), code=violation.code)
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has gone before its line."""
        self._wait_no_longer()

    def _go_on(self, proof: str | None) -> None:
        transport: Any = self.transport
        if proof is None:
            talk = FarTalk(self._receiver)
            transport.write(mark())
            transport.protocol = talk
            talk.makeConnection(transport)
            return None
        for secret in self._receiver.secrets():
            if hmac.compare_digest(proof, near_proof(secret)):
                transport.pauseProducing()
                transport.getHandle().send(mark(far_proof(secret)))  # a new socket has room for it
                return self._receiver.link(transport, secret)
        raise ProtocolViolation("a link that knows no secret")

    def _wait_no_longer(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class DoorFactory(ServerFactory):
    """The factory of the door's socket."""

    noisy = False

    def __init__(self, receiver: Receiving) -> None:
        self._receiver = receiver

    def buildProtocol(self, addr: object) -> Door:
        """Return the protocol for a new connection."""
        return Door(self._receiver)
