"""
A destination that ssh reaches and starts: from its address to the source's end of a tunnel.

The port where the far end listens is tried at all its addresses at once. Where none answers, the links go through ssh.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from nbdtun.config.settings import REMOTE, Dialling, FarSettings, TunnelSettings
from nbdtun.config.ssh import SSHAddress
from nbdtun.deferreds import shield, with_timeout
from nbdtun.errors import FarEndGone, LinkLost, NbdtunError, NotInstalled, ReachError, TLSError
from nbdtun.process import Reactor
from nbdtun.reach.command import DENIED
from nbdtun.reach.host import UNATTENDED, Host
from nbdtun.reach.links import SSHLinks
from nbdtun.reach.near import FarEnd, Listening
from nbdtun.reach.pushing.executable import Executable, find
from nbdtun.reach.pushing.push import push
from nbdtun.reach.pushing.shell import SSHShell
from nbdtun.reach.relay import is_gone
from nbdtun.service.tunnel.build import make_runtime
from nbdtun.tls.throwaway import SOURCE, Identity
from nbdtun.tls.trust import Pinned
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.dialer import Dialer
from nbdtun.tunnel.source.throughput import throughput

#: Seconds in which the port must answer. A firewall that drops packets is silent.
PORT_SECONDS: Final = 3.0

#: Seconds for a measurement's channel to end by itself.
SETTLE: Final = 3.0

#: Seconds before each attempt to reach a far end again whose connection was torn, by an ssh that asks nobody.
AGAIN: Final = (0.2, 5.0, 25.0)

#: Tells the user one line.
Say = Callable[[str], object]


class Step(str):
    """A line that says what is being done; it is for who watches, and not for a log or a report."""

    __slots__ = ()


class Reached:
    """
    The far end called ``name`` at ``address``, and the dialers of a tunnel to it, which share ``runtime``. ``say`` is told which way was
    taken.

    ``far`` is a :class:`~nbdtun.reach.maker.Maker`.
    """

    def __init__(self, runtime: Runtime, address: SSHAddress, name: str, settings: FarSettings, say: Say) -> None:
        self._runtime = runtime
        self._address = address
        self._name = name
        self._settings = settings
        self._say = say
        self._links: SSHLinks | None = None
        self._listening: Listening | None = None
        self._port = ""  #: where it listens, if the links go there
        self._identity = Identity.make(SOURCE)
        self.far = FarEnd(Host(runtime.reactor, address, settings.remote), name)
        self.waits = False  #: a QEMU waits there for the VM
        self.gone: FarEndGone | None = None  #: it has ended before its time
        self._watching: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Reached {self._address}>"

    @classmethod
    def by(cls, reactor: Reactor, settings: Dialling, name: str, say: Say) -> Reached:
        """Make it as ``settings`` say, which have an address of ssh."""
        address = settings.by_ssh
        assert address is not None
        patient = evolve(settings.tunnel, handshake_timeout=max(UNATTENDED, settings.tunnel.handshake_timeout))
        return cls(make_runtime(reactor, patient), address, name, settings.far, say)

    async def open(self) -> Dialer:
        """
        Connect by ssh, start the far end, and find a way for the links.

        :raise ReachError: ssh failed, or nbdtun cannot be run there.
        :raise NbdtunError: the far end cannot receive the VM.
        """
        await self._open()
        far = self._settings
        listening = await self.far.receive(
            self._identity.certificate,
            qmp=far.qmp,
            targets=tuple(f"{target.name}={target.endpoint}" for target in far.targets),
            ports=f"{far.ports[0]}-{far.ports[1]}" if far.ports else "",
            resume_window=self._runtime.terms.resume_window,
            libvirt=far.libvirt,
        )
        self._listening, self.waits = listening, listening.waits
        dialer = await self._find_way(listening)
        self._watching = Deferred.fromCoroutine(self._watch())
        self._watching.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return dialer

    async def _watch(self) -> None:
        """
        See whether the far end has ended, each time that its connection is torn.

        To its port that looks like an outage, which may be over at any time. But no channel survives it.
        """
        while self.gone is None:
            await self.far.when_lost()
            for pause in AGAIN:
                await deferLater(self._runtime.reactor, pause)
                try:
                    await self.far.join()
                    break
                except NbdtunError as error:
                    if is_gone(error.what):
                        self.gone = FarEndGone(error.what, "its log there says more; try again")
                        return
            else:
                return  # ssh has no way any more; the links may

    async def _open(self) -> None:
        """Connect; where no nbdtun answers, copy one there first."""
        self._say(Step(f"{self._name}: connecting to {self._address}"))
        try:
            await self.far.open()
        except NotInstalled:
            if not self._settings.push or self._settings.remote != REMOTE:
                raise
            executable = await _in_thread(self._runtime.reactor, find)
            self._say(f"{self._name}: {self._address} has no compatible nbdtun; copying this one there")
            remote = await push(SSHShell(self.far.host), f"{self._address}", executable)
            self.far.host = evolve(self.far.host, remote=remote)
            await self.far.open()

    async def _find_way(self, listening: Listening) -> Dialer:
        why = "as --through-ssh says"
        if not self._settings.through_ssh:
            dialer, why = await self._knock(listening)
            if dialer is not None:
                self._port = dialer.peer
                self._say(f"{self._name}: to {self._address} over {dialer.peer}, under TLS 1.3")
                return dialer
        dialer = await self._through_ssh(listening)
        self._say(f"{self._name}: to {self._address} through ssh, {why}")
        return dialer

    async def _through_ssh(self, listening: Listening) -> Dialer:
        """
        The dialer of links through ssh.

        :raise ReachError: they would ask somebody.
        """
        links = SSHLinks(self.far.host, self._name, listening.secret)
        try:
            await links.prove()
        except ReachError as error:
            what = f"links through ssh cannot be made: {error.what}"
            if DENIED not in error.what:
                raise ReachError(what, error.remedy) from error
            raise ReachError(f"{what}: a later connection would ask somebody", "use a key or an agent that asks nobody") from error
        self._links = links
        return Dialer(self._runtime, links, f"{self._address}", connect_timeout=UNATTENDED, encrypted=True)

    def dialling(self, tunnel: TunnelSettings) -> Dialling | None:
        """How another process dials for a tunnel of these settings; None where the links go through ssh."""
        if not self._port or self._listening is None:
            return None
        trust = Pinned(partial(self._identity.asking, self._listening.certificate))
        return Dialling(tunnel=evolve(tunnel, trust=trust, tls_name=self._listening.name), connect=self._port)

    async def other_speed(self) -> float | None:
        """
        Bytes per second that one channel through ssh carries, where the links go over a port; None where they go through ssh.

        :raise NbdtunError: links through ssh cannot be made.
        """
        if self._listening is None or self._links is not None:
            return None
        source = Source(await self._through_ssh(self._listening))
        try:
            return (await throughput(source)).rate
        finally:
            await source.drain(SETTLE)
            await source.stop()

    async def _knock(self, listening: Listening) -> tuple[Dialer | None, str]:
        """The dialer of the first address that answers; or None, and why."""
        context = self._identity.asking(listening.certificate)
        reactor = self._runtime.reactor
        hosts = dict.fromkeys((await self.far.host.name(), *listening.addresses))

        def dialer(host: str) -> Dialer:
            label = f"[{host}]:{listening.port}" if ":" in host else f"{host}:{listening.port}"
            endpoint = _WhileItLives(self, HostnameEndpoint(reactor, host, listening.port))
            return Dialer(self._runtime, endpoint, label, Pinned(lambda: context), listening.name)

        dialers = [dialer(host) for host in hosts]
        found = await first(reactor, PORT_SECONDS, (each.probe() for each in dialers))
        # The others' sockets were just closed. epoll may still have events of theirs, which Twisted would give to who gets their numbers.
        await deferLater(reactor, 0)
        if isinstance(found, int):
            return dialers[found], ""
        if isinstance(found, TLSError):  # it is not the port that is closed
            raise found
        return None, f"as port {listening.port} cannot be reached there"

    async def acknowledge(self, *, settled: bool = True) -> None:
        """Nothing is needed there any more; if the outcome is ``settled``, the far end can forget it. It ends by itself in any case."""
        if not self.far.opened or self.gone is not None:
            return
        try:
            await self.far.acknowledge(self._identity.certificate, settled=settled)
        except NbdtunError as error:
            self._say(f"the far end could not be told that it may end: {error}; it ends by itself")

    async def close(self) -> None:
        """Hang up, and leave no process."""

        if self._watching is not None:
            self._watching.cancel()

        async def end() -> None:
            await self.far.close()
            if self._links is not None:
                await self._links.close()

        await shield(Deferred.fromCoroutine(end()), lambda: None)


@implementer(IStreamClientEndpoint)
@frozen
class _WhileItLives:
    """The ``endpoint`` of a far end's port, where nobody listens any more once that has gone."""

    reached: Reached
    endpoint: HostnameEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the Deferred fails with :exc:`~nbdtun.errors.FarEndGone`, too."""
        if self.reached.gone is not None:
            return fail(self.reached.gone)
        connecting: Deferred[IProtocol] = self.endpoint.connect(protocolFactory)
        return connecting


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


def _in_thread(reactor: Any, work: Callable[[], Executable]) -> Deferred[Executable]:
    """Work that takes seconds of a processor's time."""
    return deferToThreadPool(reactor, reactor.getThreadPool(), work)
