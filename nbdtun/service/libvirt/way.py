"""The tunnel as the near end of a migration of libvirt's uses it: see :class:`nbdtun.libvirt.near.way.Way`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, TypeVar

from twisted.protocols.amp import AMP

from nbdtun.errors import ConfigError
from nbdtun.libvirt.far.arrivals import BASE, COMMON
from nbdtun.libvirt.near.way import Handover, Ward
from nbdtun.migration.carrier import Farewell, Speed
from nbdtun.migration.progress import LinkState
from nbdtun.ownership.labels import FOR_QEMU
from nbdtun.ownership.listening import Listener
from nbdtun.process import Reactor
from nbdtun.service.libvirt.calls import Calls
from nbdtun.service.libvirt.directory import SocketDirectory
from nbdtun.service.libvirt.standby import Standby
from nbdtun.service.local.listening import LocalEndpoint
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.carrier import TunnelCarrier, TunnelIngress
from nbdtun.tunnel.runtime.brake import Brake
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.forwarder import Forwarder

P = TypeVar("P", bound=AMP)

#: The socket to which libvirtd connects for itself.
LIBVIRT: Final = "libvirt.sock"


class TunnelWay:
    """
    ``source``, with the directory for the sockets of one migration, in one of ``bases``. ``rundir`` is this process's own.

    ``beside`` starts the process that stands by.
    """

    def __init__(
        self,
        reactor: Reactor,
        source: Source,
        rundir: RunDir,
        bases: Collection[str] = (BASE, COMMON),
        *,
        beside: Callable[[Ward], Standby] | None = None,
    ) -> None:
        self._bases = bases
        self._beside = beside
        self._standby: Standby | None = None
        self._reactor = reactor
        self._source = source
        self._carrier = TunnelCarrier(reactor, source, rundir)
        self._directory: SocketDirectory | None = None
        self._handover: Handover | None = None
        self._open: list[TunnelIngress] = []

    def __repr__(self) -> str:
        return f"<TunnelWay by {self._directory!r}, {len(self._open)} sockets>"

    async def control(self, protocol: P) -> P:
        """See :meth:`nbdtun.migration.carrier.Carrier.control`."""
        return await self._carrier.control(protocol)

    def new_secret(self) -> bytes:
        """See :meth:`nbdtun.migration.carrier.Carrier.new_secret`."""
        return self._carrier.new_secret()

    async def throughput(self) -> Speed:
        """See :meth:`nbdtun.migration.carrier.Carrier.throughput`."""
        return await self._carrier.throughput()

    @property
    def link(self) -> LinkState:
        """The state of the tunnel's links."""
        return self._carrier.link

    def guard(self, ward: Ward) -> None:
        """See :meth:`nbdtun.libvirt.near.way.Way.guard`."""
        if self._beside is not None:
            self._standby = self._beside(ward)

    def leave(self) -> None:
        """Leave the session to the process that stands by."""
        if self._standby is not None:
            self._standby.leave()

    def dismiss(self) -> None:
        """Nothing is left to do for the process that stands by; safe to repeat."""
        if self._standby is not None:
            self._standby.dismiss()

    async def make(self, directory: str, session: str, owner: tuple[int, int] | None, handover: Handover) -> None:
        """See :meth:`nbdtun.libvirt.near.way.Way.make`."""
        self._handover = handover
        made = SocketDirectory(directory, session, owner, self._bases)
        made.make()
        self._directory = made

    async def enter(
        self, target: str, name: str, *, urgent: bool = False, farewell: Farewell | None = None, secret: bytes = b""
    ) -> TunnelIngress:
        """See :meth:`nbdtun.migration.carrier.Carrier.enter`."""
        if self._directory is None:
            raise ConfigError("there is no directory for the migration's sockets yet")
        path, owner = self._directory.socket(name), None if name == LIBVIRT else self._directory.owner
        endpoint = LocalEndpoint(Listener(self._reactor, path, 0o600, owner, label=FOR_QEMU), f"unix:{path}")
        channels: Forwarder | Calls
        brake = Brake(self._source.runtime.throttle)
        if name == LIBVIRT:
            assert self._handover is not None
            channels = Calls(self._reactor, self._source, target, secret, self._handover, self._standby)
        else:
            channels = Forwarder(self._source, target, urgent=urgent, farewell=farewell, session=secret, limit=brake)
        ingress = TunnelIngress(path, channels, await endpoint.listen(channels), brake)
        self._open.append(ingress)
        return ingress

    @property
    def trouble(self) -> Exception | None:
        """See :attr:`nbdtun.libvirt.near.way.Way.trouble`."""
        return next((each.trouble for each in self._open if each.trouble is not None), None)

    async def remove(self) -> None:
        """See :meth:`nbdtun.libvirt.near.way.Way.remove`."""
        while self._open:
            await self._open.pop().close()
        if self._directory is not None:
            self._directory.remove()
