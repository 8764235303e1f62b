"""
The tunnel as the migration sees it.

At the source: sockets for QEMU to connect to, and the control channel. At the destination: the place where one session's channels come
out.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol, TypeVar

from attrs import define, frozen
from twisted.internet.interfaces import IListeningPort
from twisted.protocols.amp import AMP

from nbdtun.deferreds import stopped
from nbdtun.errors import TunnelError
from nbdtun.migration.bond import Bond, Claim
from nbdtun.migration.carrier import Farewell, Speed
from nbdtun.migration.progress import LinkState
from nbdtun.ownership.directories import remove_tree
from nbdtun.ownership.listening import Listener
from nbdtun.ownership.reacher import Reacher
from nbdtun.process import Reactor, quiet_factory
from nbdtun.service.local.listening import LocalEndpoint
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.endpoint import ChannelEndpoint
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.destination.targets import EndpointTarget, SessionTarget
from nbdtun.tunnel.runtime.brake import Brake
from nbdtun.tunnel.settings import CONTROL
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.forwarder import Forwarder
from nbdtun.tunnel.source.throughput import throughput

P = TypeVar("P", bound=AMP)


class Channels(Protocol):
    """The channels of one socket, as a :class:`~nbdtun.tunnel.source.forwarder.Forwarder` has them."""

    trouble: TunnelError | None

    async def drained(self) -> None:
        """Wait until all that was sent through them is in the sockets at their other ends."""

    def reset(self, reason: str) -> None:
        """End all."""


@define
class TunnelIngress:
    """A socket that QEMU connects to: see :class:`nbdtun.migration.carrier.Ingress`."""

    path: str
    _channels: Channels
    _port: IListeningPort
    _brake: Brake

    @property
    def trouble(self) -> Exception | None:
        """Why the latest channel through it failed."""
        return self._channels.trouble

    @property
    def allowance(self) -> int | None:
        """How many bytes may still be read."""
        return self._brake.left

    def allow(self, count: int | None) -> None:
        """Read ``count`` bytes and no more; None for any number."""
        self._brake.allow(count)

    async def drained(self) -> None:
        """Wait until all that was sent through it is in the target's socket."""
        await self._channels.drained()

    async def close(self) -> None:
        """Remove the socket, and reset the remaining channels."""
        await stopped(self._port)
        self._channels.reset("the migration no longer needs it")


@frozen
class TunnelCarrier:
    """``source``, with the directory for its sockets: see :class:`nbdtun.migration.carrier.Carrier`."""

    reactor: Reactor
    source: Source
    rundir: RunDir

    async def control(self, protocol: P) -> P:
        """Open the control channel, and connect ``protocol`` to this end of it."""
        await ChannelEndpoint(self.reactor, self.source, CONTROL, urgent=True).connect(quiet_factory(lambda: protocol))
        return protocol

    def new_secret(self) -> bytes:
        """Return a secret for a session; none without TLS."""
        return self.source.new_secret()

    async def enter(
        self, target: str, name: str, *, urgent: bool = False, farewell: Farewell | None = None, secret: bytes = b""
    ) -> TunnelIngress:
        """Make the socket ``name``: its connections reach ``target``, ahead of those that are not ``urgent``."""
        path = self.rundir.socket(name)
        endpoint = LocalEndpoint(Listener(self.reactor, path, 0o600, self.rundir.owner), f"unix:{path}")
        brake = Brake(self.source.runtime.throttle)
        channels = Forwarder(self.source, target, urgent=urgent, farewell=farewell, session=secret, limit=brake)
        return TunnelIngress(path, channels, await endpoint.listen(channels), brake)

    async def throughput(self) -> Speed:
        """Measure what the tunnel carries."""
        measured = await throughput(self.source)
        return Speed(measured.rate, measured.held.value if measured.held else "")

    @property
    def link(self) -> LinkState:
        """The state of the tunnel's links."""
        source, contact = self.source, self.source.runtime.contact
        lost_for, whole = source.lost_for, source.ledger.whole
        return LinkState(
            lost_for=lost_for,
            resumes=whole.resumes,
            replayed=whole.replayed,
            silent_for=source.silent_for,
            retry_for=None if lost_for is None else max(0.0, source.runtime.terms.resume_window - lost_for),
            given_up=source.given_up and lost_for is None,
            outages=contact.outages,
            down=contact.down,
            sent=whole.sent,
        )


class TunnelEgress:
    """
    A directory for one session's sockets, and the targets that lead to them: see :class:`nbdtun.migration.carrier.Egress`.

    ``users`` are the uids that the session's QEMU may run as: the directory is theirs, and only their sockets in it are connected to.
    """

    def __init__(self, reactor: Reactor, destination: Destination, directory: Path, users: Collection[int]) -> None:
        self._reactor = reactor
        self._destination = destination
        self._directory = directory
        self._users = users
        self._admitted: list[str] = []
        self._bond = Bond()

    @property
    def directory(self) -> str:
        """The directory in which the destination QEMU can make sockets."""
        return str(self._directory)

    def tie(self, bond: Bond) -> None:
        """Let only the source of ``bond`` open channels."""
        self._bond = bond

    def admit(self, target: str, path: str) -> None:
        """Let channels to ``target`` connect to the UNIX socket ``path``, from now on."""
        endpoint = EndpointTarget(Reacher(self._reactor, path, self._users), f"unix:{path}")
        self._destination.targets.add(target, SessionTarget(endpoint, lambda names, secret: self._bond.admits(Claim(names, secret))))
        self._admitted.append(target)

    async def dismiss(self) -> None:
        """Admit no more channels, and reset the remaining ones."""
        admitted, self._admitted = self._admitted, []
        for target in admitted:
            self._destination.targets.remove(target)
            self._destination.reset(target, "the migration no longer needs it")
            self._destination.forget(target)

    async def close(self) -> None:
        """Dismiss, and remove the directory."""
        await self.dismiss()
        remove_tree(str(self._directory))
