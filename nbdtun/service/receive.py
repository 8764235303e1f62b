"""
The receiver: a destination for one VM, which a near end has started by ssh, and which ends by itself.

It listens at a door, the socket to which the relays of ssh sessions connect; so a torn session takes nothing down. It ends when its near
end knows the outcome and nothing is under way, or when nobody has come back within the resume window.
"""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from nbdtun.config import VM, DestinationSettings, Target, TunnelSettings
from nbdtun.config.values import parse_ports
from nbdtun.deferreds import stopped
from nbdtun.errors import ConfigError, ReachError
from nbdtun.logs import make_logger
from nbdtun.migration.destination.life import State
from nbdtun.migration.qmp.dial import is_forbidden, is_served
from nbdtun.ownership.directories import make_directories, remove_empty
from nbdtun.ownership.listening import Listener
from nbdtun.process import Reactor, adopt, quiet_factory
from nbdtun.reach.addresses import own_addresses
from nbdtun.reach.far import Asked, Door, DoorFactory, FarTalk
from nbdtun.reach.maker import Json, Maker
from nbdtun.reach.relay import door_path
from nbdtun.service.control.daemon import DaemonControl
from nbdtun.service.destination import DestinationService
from nbdtun.service.local import ownership
from nbdtun.service.local.listening import LocalEndpoint
from nbdtun.service.local.outcomes import Outcomes
from nbdtun.spawn.far.earlier import Earlier
from nbdtun.spawn.far.host import AS_ROOT, own_name
from nbdtun.tls.throwaway import SOURCE_IDENTITY, Identity
from nbdtun.tls.trust import Pinned
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.opening.detach import detach

#: Seconds between two looks whether there is still something to do.
LOOK: Final = 0.5

#: Seconds for which a receiver waits alone that was not asked to receive anything yet.
FIRST_WINDOW: Final = 5.0

#: The most near ends at a time: a migration, and those that check meanwhile, or have come after a killed one.
SOURCES: Final = 16

#: Where a QEMU is looked for that waits for its VM.
USUAL: Final = "/run/qemu/{vm}-incoming.qmp"

#: The states of a session whose guest runs here, or may.
MAY_HAVE_RUN: Final = (State.FINISHING, State.FINISHED, State.UNCERTAIN)
#: The states that never change again in which it runs here, or may.
_HAS_RUN: Final = (State.FINISHED, State.UNCERTAIN)


class Receiver:
    """
    Receives the VM ``name``; its sockets are below ``base``. ``outcomes`` keeps what became of it until its source knows. ``maker`` makes
    its destination, where one can be made; ``earlier`` is what was made for a receiver that was killed.
    """

    log = make_logger()

    def __init__(
        self, reactor: Reactor, name: str, base: Path, outcomes: Outcomes, maker: Maker | None = None, earlier: Earlier | None = None
    ) -> None:
        self.reactor = reactor
        self._name = name
        self._base = base
        self._maker = maker
        self._earlier = earlier
        self._left = ""  #: the monitor of a QEMU that an earlier receiver had: it is asked for an outcome, and not moved to
        self._outcomes = outcomes
        self._identity = Identity.make()
        self._sources: dict[bytes, bytes] = {}
        self._context: ssl.SSLContext | None = None
        self._vms: dict[str, str] = {}
        self._destination: DestinationService | None = None
        self._control: DaemonControl | None = None
        self._talks: set[FarTalk] = set()
        self._window = FIRST_WINDOW
        self.done = False  #: it has ended because its work is done, or there was none
        self._served = False
        self._settled = ""  #: the session whose outcome the source knows
        self._settling: Deferred[None] | None = None
        self._kept = ""  #: the session whose guest has what was made
        self._alone_since: float | None = reactor.seconds()
        self._over: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<Receiver of {self._name}>"

    async def run(self, first: socket.socket, ready: Callable[[], object] = lambda: None) -> None:
        """
        Serve the connection ``first`` and those that come through the door, until there is nothing left to do; ``ready`` is called when the
        door is open.

        :raise ConfigError: there is another receiver of that name, or its door cannot be made.
        """
        path = door_path(self._base, self._name)
        ownership.check(path.parent)
        make_directories(f"{path.parent}")
        port = await LocalEndpoint(Listener(self.reactor, f"{path}", 0o600), f"unix:{path}").listen(DoorFactory(self))
        looking = LoopingCall(self._look)
        looking.clock = self.reactor
        try:
            ready()
            with first:
                first.setblocking(False)
                adopt(self.reactor, first, quiet_factory(lambda: Door(self)))
            looking.start(LOOK).addErrback(self._over.errback)
            await self._over
        finally:
            if looking.running:
                looking.stop()
            await stopped(port)  # first: the next one opens its own
            with suppress(OSError):  # another one has its door there
                remove_empty(f"{path.parent}")
            await self._stop()

    async def _stop(self) -> None:
        """End: undo what is under way, and remove what was made for it."""
        if self._control is not None:
            await self._control.stopService()
        if self._destination is not None:
            await self._destination.stopService()
            self._note(self._destination)
        await self._clear()
        if self._settling is not None:
            await self._settling
        await deferLater(self.reactor, 0)  # the last answer leaves
        for talk in tuple(self._talks):
            talk.hang_up()

    async def _clear(self) -> None:
        """Remove what was made, unless a guest has run on it, or may have."""
        if self._maker is None:
            return
        latest = self._destination and self._destination.sessions.register.latest.get(self._name)
        if latest and latest.state in MAY_HAVE_RUN:
            await self._maker.keep()
        else:
            await self._maker.remove()

    def _note(self, destination: DestinationService) -> None:
        """Keep the outcome, if there is a new one."""
        for vm, session in destination.sessions.register.latest.items():
            if session.ident != self._settled:
                self._outcomes.note(vm, session.ident, session.state, self._vms.get(vm, ""))

    def _keep(self, destination: DestinationService) -> None:
        """Keep for good what a guest has: a later session may fail here, and that guest may end."""
        latest = destination.sessions.register.latest.get(self._name)
        if self._maker is not None and latest is not None and latest.state in _HAS_RUN and latest.ident != self._kept:
            self._kept = latest.ident
            Deferred.fromCoroutine(self._maker.keep()).addErrback(
                lambda failure: self.log.failure("what was made cannot be kept", failure=failure)
            )

    def _look(self) -> None:
        if self._over.called:
            return
        if self._destination is not None:
            self._note(self._destination)
            self._keep(self._destination)
        now = self.reactor.seconds()
        if self._talks or not self._idle:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        gone = self._alone_since is not None and now - self._alone_since >= self._window
        if (self._served and not self._sources and not self._talks and self._idle) or gone:
            self.log.info("{vm}: the receiver ends, {why}", vm=self._name, why="nobody came back" if gone else "its work is done")
            self.done = not gone or not self._served
            self._over.callback(None)

    @property
    def _idle(self) -> bool:
        return self._destination is None or self._destination.idle

    # What the dialogue asks for.

    async def receive(self, asked: Asked) -> dict[str, Any]:
        """
        Be ready for the source with the certificate in ``asked``.

        :raise ReachError: it cannot listen, there are too many sources, or QEMU's socket is forbidden.
        :raise TLSError: the certificate cannot be used.
        """
        if len(self._sources) >= SOURCES:
            raise ReachError(f"{self._name}: {SOURCES} sources are connected already")
        self._context = self._identity.serving(*self._sources, asked.certificate)
        secret = self._sources[asked.certificate] = secrets.token_bytes(32)
        self._served, self._window = True, asked.resume_window
        if not asked.targets and not asked.libvirt:
            await self._find(asked.qmp)
            if is_forbidden(self._vms[self._name]):
                raise ReachError(f"{self._vms.pop(self._name)}: {own_name()} may not open QEMU's socket there", AS_ROOT)
        if self._destination is None:
            self._destination = self._listen(asked)
        return {
            "certificate": self._identity.certificate,
            "name": self._identity.name,
            "port": self._destination.port,
            "addresses": [{"address": address} for address in own_addresses()],
            "secret": secret,
            "waits": not asked.libvirt and self._waits,
        }

    @property
    def _waits(self) -> bool:
        return self._vms.get(self._name, self._left) != self._left and is_served(self._vms[self._name])

    async def _find(self, qmp: str) -> None:
        """
        Find the QEMU: the one that was named, that waits at the usual place, that was made for a receiver which was killed, or that has the
        guest of an outcome which the source does not know yet.
        """
        usual = USUAL.format(vm=self._name)
        known = qmp or self._vms.get(self._name, "")
        self._vms[self._name] = known or usual
        if known or is_served(usual):
            return
        made, session = ("", "") if self._earlier is None else await self._earlier.look()
        if session:  # its receiver is gone, and it has not handed over
            self._outcomes.note(self._name, session, State.ABORTED)
        self._left = made or self._outcomes.monitor(self._name)
        self._vms[self._name] = self._left or usual

    def _listen(self, asked: Asked) -> DestinationService:
        """Start the destination, on one of the ports."""
        first, last = parse_ports(asked.ports) if asked.ports else (0, 0)
        for port in range(first, last + 1):
            destination = DestinationService(self.reactor, self._settings(port, asked), self._vms)
            try:
                destination.startService()
            except ConfigError as error:
                self.log.info("{reason}", reason=str(error))
                destination.stopService()
                continue
            destination.sessions.recall = self._outcomes.recall
            self._control = DaemonControl.of(destination, "nbdtun-receive")
            self._control.startService()
            self.log.info("{vm}: listening on port {port}", vm=self._name, port=destination.port)
            return destination
        raise ReachError(f"no port of {asked.ports or 'this host'} is free there", "give another --port-range")

    def _settings(self, port: int, asked: Asked) -> DestinationSettings:
        tunnel = TunnelSettings(run_dir=f"{self._base}", resume_window=asked.resume_window, trust=Pinned(self._latest))
        vms = () if asked.targets or asked.libvirt else (VM(self._name, self._vms[self._name]),)
        targets = tuple(map(Target.parse, asked.targets))
        return DestinationSettings(tunnel=tunnel, listen=f"tcp:{port}", vms=vms, targets=targets, libvirt=asked.libvirt, admit=None)

    def _latest(self) -> ssl.SSLContext:
        assert self._context is not None
        return self._context

    async def look(self, wanted: Json) -> Json:
        """See :meth:`nbdtun.reach.maker.Maker.look`."""
        return await self._made_by.look(wanted)

    async def make(self, plan: Json) -> str:
        """See :meth:`nbdtun.reach.maker.Maker.make`."""
        qmp = await self._made_by.make(plan)
        self._vms[self._name], self._left = qmp, ""
        return qmp

    async def remove(self) -> None:
        """See :meth:`nbdtun.reach.maker.Maker.remove`; and what a killed far end has made."""
        await self._clear()
        if self._earlier is not None:
            await self._earlier.clear()

    async def keep(self) -> None:
        """See :meth:`nbdtun.reach.maker.Maker.keep`."""
        await self._made_by.keep()

    @property
    def _made_by(self) -> Maker:
        if self._maker is None:
            raise ReachError(f"{self._name}: this nbdtun can make no destination", "start a QEMU there with -S -incoming defer")
        return self._maker

    def acknowledge(self, certificate: bytes, *, settled: bool) -> None:
        """
        The source with this ``certificate`` needs nothing any more; if it has ``settled`` the outcome, that is forgotten.

        So is that of the last source's own session if its guest never ran here.
        """
        self._sources.pop(certificate, None)
        self._context = self._identity.serving(*self._sources)  # after the last one: for nobody
        latest = self._destination and self._destination.sessions.register.latest.get(self._name)
        if settled or (latest and latest.state is State.ABORTED and not self._sources):
            self._settled = latest.ident if latest else ""
            self._outcomes.forget(self._name)
        if settled and self._earlier is not None:
            self._settling = Deferred.fromCoroutine(self._earlier.settle())
            self._settling.addErrback(lambda failure: self.log.failure("what was made is still written down", failure=failure))

    def enter(self, talk: FarTalk) -> None:
        """A near end has connected."""
        self._talks.add(talk)
        talk.when_lost().addCallback(lambda _: self._talks.discard(talk))

    def secrets(self) -> list[bytes]:
        """The secrets of the sources."""
        return list(self._sources.values())

    def link(self, transport: Any, secret: bytes) -> None:
        """A link through ssh, of the source with this ``secret``."""
        assert self._destination is not None
        caller = Caller("the source, through ssh", "ssh", SOURCE_IDENTITY, "ssh", frozenset({SOURCE_IDENTITY}))
        self._destination.tunnel.arrived(detach(transport), caller)
