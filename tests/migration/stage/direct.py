"""
The shortest way from a source to a destination: a Carrier and Egresses that relay between UNIX sockets of one process.

It keeps the promises of ``nbdtun.migration.carrier`` without links, windows and TLS; and it can be broken on purpose.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.amp import AMP
from zope.interface import implementer

from nbdtun.errors import TargetUnknown, TargetUnreachable, TunnelError
from nbdtun.migration.carrier import Farewell, Speed
from nbdtun.migration.progress import LinkState
from nbdtun.ownership.reach import Credentials


@implementer(IHalfCloseableProtocol)
class End(Protocol):
    """One end of a relayed connection."""

    other: End | None = None
    transport: Any  # a UNIX socket's, which can do more than ITransport

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def join(self, other: End) -> None:
        for one, two in ((self, other), (other, self)):
            one.other = two
            one.transport.registerProducer(two.transport, True)

    def dataReceived(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        if self.other is not None:
            self.other.transport.unregisterProducer()
            self.other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: object = None) -> None:
        if self.other is not None:
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()
        if not self.ended.called:
            self.ended.callback(None)


class Entry(End):
    """The end at which QEMU has connected: dials the target then, not before."""

    def __init__(self, ingress: DirectIngress) -> None:
        super().__init__()
        self.ingress = ingress

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        self.ingress.entries.append(self)
        Deferred.fromCoroutine(self.dial())

    async def dial(self) -> None:
        try:
            exit_ = await self.ingress.dial()
        except TunnelError as error:
            self.ingress.trouble = error
            self.transport.abortConnection()
            return
        self.join(exit_)
        self.transport.resumeProducing()


class DirectIngress:
    """A UNIX socket, each connection to which reaches one target."""

    def __init__(self, tunnel: Tunnel, target: str, path: str) -> None:
        self.tunnel = tunnel
        self.target = target
        self.path = path
        self.trouble: Exception | None = None
        self.entries: list[Entry] = []
        self.allowance: int | None = None

    def allow(self, count: int | None) -> None:
        raise NotImplementedError("it counts nothing")

    async def listen(self) -> None:
        self.port = await UNIXServerEndpoint(self.tunnel.reactor, self.path).listen(Factory.forProtocol(lambda: Entry(self)))

    async def dial(self) -> End:
        if self.tunnel.stalls:
            await Deferred()
        if self.target not in self.tunnel.admitted:
            raise TargetUnknown(f"target {self.target} is not listed")
        path = self.tunnel.admitted[self.target]
        try:
            exit_: End = await connectProtocol(UNIXClientEndpoint(self.tunnel.reactor, path), End())
        except Exception as error:
            raise TargetUnreachable(f"target {self.target}: {error}") from error
        self.tunnel.exits.append((self.target, exit_))
        return exit_

    async def drained(self) -> None:
        for entry in self.entries:
            await entry.ended

    def cut(self) -> None:
        """Break every connection that there is."""
        for entry in self.entries:
            entry.transport.abortConnection()

    async def close(self) -> None:
        await self.port.stopListening()
        self.cut()
        self.tunnel.ingresses.pop(self.target, None)


class DirectEgress:
    """The destination's end of a session."""

    def __init__(self, tunnel: Tunnel, session: str) -> None:
        self.tunnel = tunnel
        self.directory = str(tunnel.directory / session[:8])
        self.mine: list[str] = []
        os.mkdir(self.directory, 0o700)

    def tie(self, bond: object) -> None:
        """Of the one source that there is."""

    def admit(self, target: str, path: str) -> None:
        self.mine.append(target)
        self.tunnel.admitted[target] = path

    async def dismiss(self) -> None:
        for target in self.mine:
            del self.tunnel.admitted[target]
            self.tunnel.cut_exits(target)
        self.mine.clear()

    async def close(self) -> None:
        await self.dismiss()
        shutil.rmtree(self.directory)


class Tunnel:
    """Both ends at once: a Carrier for the source, a maker of Egresses for the destination."""

    def __init__(self, reactor: Any, directory: Path) -> None:
        self.reactor = reactor
        self.directory = directory
        self.admitted: dict[str, str] = {}
        self.ingresses: dict[str, DirectIngress] = {}
        self.exits: list[tuple[str, End]] = []
        self.controls: list[AMP] = []
        self.link = LinkState()
        self.stalls = False
        self.serve: Callable[[], AMP] = AMP

    def egress(self, session: str, owner: Credentials) -> DirectEgress:
        assert owner.pid > 0
        return DirectEgress(self, session)

    async def start(self) -> None:
        path = str(self.directory / "control.sock")
        self.port = await UNIXServerEndpoint(self.reactor, path).listen(Factory.forProtocol(lambda: self.serve()))

    async def stop(self) -> None:
        await self.port.stopListening()

    async def control(self, protocol: Any) -> Any:
        """The Carrier's."""
        endpoint = UNIXClientEndpoint(self.reactor, str(self.directory / "control.sock"))
        self.controls.append(await connectProtocol(endpoint, protocol))
        return protocol

    def new_secret(self) -> bytes:
        """The Carrier's."""
        return b""

    async def enter(
        self, target: str, name: str, *, urgent: bool = False, farewell: Farewell | None = None, secret: bytes = b""
    ) -> DirectIngress:
        """The Carrier's."""
        ingress = DirectIngress(self, target, str(self.directory / f"{name}.sock"))
        await ingress.listen()
        self.ingresses[target] = ingress
        return ingress

    async def throughput(self) -> Speed:
        """The Carrier's."""
        raise TunnelError("there is no tunnel to be measured")

    def cut_exits(self, target: str) -> None:
        """Reset what is connected to a target."""
        for name, exit_ in self.exits:
            if name == target:
                exit_.transport.abortConnection()

    def cut_control(self) -> None:
        """Lose the control channel for good."""
        for control in self.controls:
            transport: Any = control.transport  # as above
            if transport is not None:
                transport.abortConnection()
