"""
A destination that ssh reaches and starts: from its address to the source's end of a tunnel.

The port where the far end listens is tried at all its addresses at once. Where none answers, the links go through ssh.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.config import MigrateSettings
from nbdtun.config.settings import FarSettings
from nbdtun.config.ssh import SSHAddress
from nbdtun.deferreds import shield, with_timeout
from nbdtun.errors import LinkLost, NbdtunError, TLSError
from nbdtun.process import Reactor
from nbdtun.reach.host import UNATTENDED, Host
from nbdtun.reach.links import SSHLinks
from nbdtun.reach.near import FarEnd, Listening
from nbdtun.service.tunnel.build import make_runtime
from nbdtun.tls.throwaway import Identity
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.dialer import Dialer

#: Seconds in which the port must answer. A firewall that drops packets is silent.
PORT_SECONDS: Final = 3.0

#: Tells the user one line.
Say = Callable[[str], object]


class Reached:
    """
    The far end for ``vm`` at ``address``, and the source's end of a tunnel to it; ``say`` is told which way was taken.

    ``far`` is a :class:`~nbdtun.reach.maker.Maker`.
    """

    def __init__(self, reactor: Reactor, address: SSHAddress, settings: MigrateSettings, say: Say) -> None:
        self._reactor = reactor
        self._address = address
        self._settings = settings
        self._say = say
        self._links: SSHLinks | None = None
        self._identity = Identity.make()
        self.far = FarEnd(Host(reactor, address, settings.far.remote), settings.migration.vm)
        self.waits = False  #: a QEMU waits there for the VM
        self.way = ""  #: the way of the links, in words

    def __repr__(self) -> str:
        return f"<Reached {self._address} {self.way}>"

    async def open(self) -> Source:
        """
        Connect by ssh, start the far end, and find a way for the links.

        :raise ReachError: ssh failed, or nbdtun cannot be run there.
        :raise NbdtunError: the far end cannot receive the VM.
        """
        await self.far.open()
        far, tunnel = self._settings.far, self._settings.tunnel
        listening = await self.far.receive(self._identity.certificate, qmp=far.qmp, ports=_text(far), resume_window=tunnel.resume_window)
        self.waits = listening.waits
        return await self._find_way(listening)

    async def _find_way(self, listening: Listening) -> Source:
        why = "as --through-ssh says"
        if not self._settings.far.through_ssh:
            dialer, why = await self._knock(listening)
            if dialer is not None:
                self._take(f"over {dialer.peer}, under TLS 1.3")
                return Source(dialer)
        name = self._settings.migration.vm
        links = self._links = SSHLinks(self.far.host, name, listening.secret)
        await links.prove()
        patient = evolve(self._settings.tunnel, handshake_timeout=max(UNATTENDED, self._settings.tunnel.handshake_timeout))
        self._take(f"through ssh, {why}")
        return Source(Dialer(make_runtime(self._reactor, patient), links, f"{self._address}", connect_timeout=UNATTENDED))

    def _take(self, way: str) -> None:
        self.way = way
        self._say(f"{self._settings.migration.vm}: to {self._address} {way}")

    async def _knock(self, listening: Listening) -> tuple[Dialer | None, str]:
        """The dialer of the first address that answers; or None, and why."""
        context = self._identity.asking(listening.certificate)
        runtime = make_runtime(self._reactor, self._settings.tunnel)
        hosts = dict.fromkeys((self._address.host, *listening.addresses))

        def dialer(host: str) -> Dialer:
            label = f"[{host}]:{listening.port}" if ":" in host else f"{host}:{listening.port}"
            endpoint = HostnameEndpoint(self._reactor, host, listening.port)
            return Dialer(runtime, endpoint, label, lambda: context, listening.name)

        dialers = [dialer(host) for host in hosts]
        found = await first(self._reactor, PORT_SECONDS, (each.probe() for each in dialers))
        # The others' sockets were just closed. epoll may still have events of theirs, which Twisted would give to who gets their numbers.
        await deferLater(self._reactor, 0)
        if isinstance(found, int):
            return dialers[found], ""
        if isinstance(found, TLSError):  # it is not the port that is closed
            raise found
        return None, f"as port {listening.port} cannot be reached there"

    async def acknowledge(self, *, settled: bool = True) -> None:
        """Nothing is needed there any more; if the outcome is ``settled``, the far end can forget it. It ends by itself in any case."""
        if not self.far.opened:
            return
        try:
            await self.far.acknowledge(self._identity.certificate, settled=settled)
        except NbdtunError as error:
            self._say(f"the far end could not be told that it may end: {error}; it ends by itself")

    async def close(self) -> None:
        """Hang up, and leave no process."""

        async def end() -> None:
            await self.far.close()
            if self._links is not None:
                await self._links.close()

        await shield(Deferred.fromCoroutine(end()), lambda: None)


async def first(clock: IReactorTime, seconds: float, attempts: Iterable[Coroutine[Any, Any, None]]) -> int | NbdtunError:
    """Which of the ``attempts`` succeeds first; the others are cancelled. If none does in time, the last error that says more than that."""
    errors: list[NbdtunError] = []
    found: Deferred[int] = Deferred()
    running = [Deferred.fromCoroutine(attempt) for attempt in attempts]
    left = len(running)

    def failed(failure: Any) -> None:
        nonlocal left
        left -= 1
        if failure.check(CancelledError) is None:
            failure.trap(NbdtunError)
            errors.append(failure.value)
        if not left and not found.called:
            found.errback(LinkLost("no attempt has succeeded"))

    def succeeded(_: None, number: int) -> None:
        if not found.called:
            found.callback(number)

    for number, each in enumerate(running):
        each.addCallback(succeeded, number).addErrback(failed)
    try:
        return await with_timeout(clock, seconds, found, lambda: LinkLost("no answer"))
    except LinkLost as late:
        return next((error for error in errors if isinstance(error, TLSError)), errors[-1] if errors else late)
    finally:
        for each in running:
            each.cancel()


def _text(far: FarSettings) -> str:
    return f"{far.ports[0]}-{far.ports[1]}" if far.ports else ""
