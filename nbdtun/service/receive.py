"""
The receiver: a destination for one VM, which ends by itself.

Near ends come to it by the door that ssh's relays reach (:mod:`.door`), or by a code (:mod:`.offered`). It ends when they know the outcome
and nothing is under way, or when nobody has come back within the resume window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from nbdtun.config import VM, DestinationSettings, Target, TunnelSettings
from nbdtun.config.values import parse_ports
from nbdtun.errors import ConfigError, ReachError
from nbdtun.logs import make_logger
from nbdtun.migration.destination.life import State
from nbdtun.migration.qmp.dial import is_forbidden, is_served
from nbdtun.process import Reactor, quiet_factory
from nbdtun.reach.addresses import own_addresses
from nbdtun.reach.far import Asked, MakerTalk
from nbdtun.reach.maker import Json
from nbdtun.reach.maker import Maker as Making
from nbdtun.service.control.daemon import DaemonControl
from nbdtun.service.destination import DestinationService
from nbdtun.service.local.base import default_base
from nbdtun.service.local.outcomes import Outcomes
from nbdtun.service.sources import Sources
from nbdtun.spawn.far.earlier import Earlier
from nbdtun.spawn.far.host import AS_ROOT, own_name
from nbdtun.spawn.far.maker import Maker
from nbdtun.spawn.far.record import Record
from nbdtun.tls.throwaway import SOURCE_IDENTITY, Identity
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.targets import LocalTarget
from nbdtun.tunnel.opening.detach import detach
from nbdtun.tunnel.settings import RECEIVER

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


@frozen
class Ready:
    """
    How a receiver listens: as this ``identity``, at the endpoint ``listen`` (empty: on one of the ports that the source names). ``window``
    is how long it waits alone, in seconds; 0: for the source's resume window. ``allow`` and ``admit`` are those of
    :class:`~nbdtun.config.settings.DestinationSettings`.
    """

    identity: Identity = field(factory=Identity.make)
    listen: str = ""
    window: float = 0.0
    allow: tuple[str, ...] = ()
    admit: tuple[str, ...] | None = None


class Receiver:
    """
    Receives the VM ``name``; its sockets are below ``base``. ``outcomes`` keeps what became of it until its source knows. ``maker`` makes
    its destination, where one can be made; ``earlier`` is what was made for a receiver that was killed. ``ready`` is how it listens, if
    that is not the source's choice.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        base: Path,
        outcomes: Outcomes,
        maker: Making | None = None,
        earlier: Earlier | None = None,
        ready: Ready | None = None,
    ) -> None:
        self.reactor = reactor
        self.name = name
        self.base = base
        self._ready = ready or Ready()
        self._maker = maker
        self._earlier = earlier
        self._left = ""  #: the monitor of a QEMU that an earlier receiver had: it is asked for an outcome, and not moved to
        self._outcomes = outcomes
        self._sources = Sources(self._ready.identity)
        self._vms: dict[str, str] = {}
        self._destination: DestinationService | None = None
        self._control: DaemonControl | None = None
        self._talks: set[MakerTalk] = set()
        self._window = FIRST_WINDOW
        self.done = False  #: it has ended because its work is done, or there was none
        self._served = False
        self._settled = ""  #: the session whose outcome the source knows
        self._told: State | None = None  #: the outcome that it was told
        self._settling: Deferred[None] | None = None
        self._kept = ""  #: the session whose guest has what was made
        self._alone_since: float | None = reactor.seconds()
        self._over: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<Receiver of {self.name}>"

    @classmethod
    def of(cls, reactor: Reactor, name: str, base: Path, state: Path, *, making: bool = True, ready: Ready | None = None) -> Receiver:
        """Make one that keeps what it must not forget in the directory ``state``; ``making``: it can make a destination."""
        outcomes, record = Outcomes(state), Record(state / f"{name}.made")
        earlier = Earlier(reactor, name, record, lambda: outcomes.recall(name, None) in MAY_HAVE_RUN)
        return cls(reactor, name, base, outcomes, Maker(reactor, record, earlier) if making else None, earlier, ready)

    async def serve(self) -> None:
        """Serve those who come, until there is nothing left to do; then :meth:`end` it."""
        looking = LoopingCall(self._look)
        looking.clock = self.reactor
        looking.start(LOOK).addErrback(self._over.errback)
        try:
            await self._over
        finally:
            if looking.running:
                looking.stop()

    async def end(self) -> None:
        """Undo what is under way, remove what was made for it, and hang up."""
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
        latest = self._destination and self._destination.sessions.register.latest.get(self.name)
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
        latest = destination.sessions.register.latest.get(self.name)
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
            self.log.info("{vm}: the receiver ends, {why}", vm=self.name, why="nobody came back" if gone else "its work is done")
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
            raise ReachError(f"{self.name}: {SOURCES} sources are connected already")
        secret = self._sources.come(asked.certificate)
        self._served, self._window = True, self._ready.window or asked.resume_window
        if not asked.targets and not asked.libvirt:
            await self._find(asked.qmp)
            if is_forbidden(self._vms[self.name]):
                raise ReachError(f"{self._vms.pop(self.name)}: {own_name()} may not open QEMU's socket there", AS_ROOT)
        if self._destination is None:
            self._destination = self._listen(asked)
        return {
            "certificate": self._sources.identity.certificate,
            "name": self._sources.identity.name,
            "port": self._destination.port,
            "addresses": [{"address": address} for address in own_addresses()],
            "secret": secret,
            "waits": not asked.libvirt and self._waits,
        }

    @property
    def _waits(self) -> bool:
        return self._vms.get(self.name, self._left) != self._left and is_served(self._vms[self.name])

    async def _find(self, qmp: str) -> None:
        """
        Find the QEMU: the one that was named, that waits at the usual place, that was made for a receiver which was killed, or that has the
        guest of an outcome which the source does not know yet.
        """
        usual = USUAL.format(vm=self.name)
        known = qmp or self._vms.get(self.name, "")
        self._vms[self.name] = known or usual
        if known or is_served(usual):
            return
        made, session = ("", "") if self._earlier is None else await self._earlier.look()
        if session:  # its receiver is gone, and it has not handed over
            self._outcomes.note(self.name, session, State.ABORTED)
        self._left = made or self._outcomes.monitor(self.name)
        self._vms[self.name] = self._left or usual

    def _listen(self, asked: Asked) -> DestinationService:
        """Start the destination, on one of the ports."""
        first, last = parse_ports(asked.ports) if asked.ports else (0, 0)
        ports = [f"tcp:{port}" for port in range(first, last + 1)]
        for endpoint in [self._ready.listen] if self._ready.listen else ports:
            destination = DestinationService(self.reactor, self._settings(endpoint, asked), self._vms)
            try:
                destination.startService()
            except ConfigError as error:
                self.log.info("{reason}", reason=str(error))
                destination.stopService()
                continue
            destination.sessions.recall = self._outcomes.recall
            self._control = DaemonControl.of(destination, "nbdtun-receive")
            self._control.startService()
            destination.tunnel.targets.add(RECEIVER, LocalTarget(self.reactor, quiet_factory(lambda: MakerTalk(self))))
            self.log.info("{vm}: listening on port {port}", vm=self.name, port=destination.port)
            return destination
        raise ReachError(f"no port of {asked.ports or 'this host'} is free there", "give another --port-range")

    def _settings(self, endpoint: str, asked: Asked) -> DestinationSettings:
        run_dir = None if self.base == default_base() else f"{self.base}"  # state is elsewhere, unless a directory was chosen
        tunnel = TunnelSettings(run_dir=run_dir, resume_window=asked.resume_window, trust=self._sources.trust)
        vms = () if asked.targets or asked.libvirt else (VM(self.name, self._vms[self.name]),)
        targets = tuple(map(Target.parse, asked.targets))
        admit, allow = self._ready.admit, self._ready.allow
        return DestinationSettings(
            tunnel=tunnel, listen=endpoint, vms=vms, targets=targets, libvirt=asked.libvirt, admit=admit, allow=allow
        )

    async def look(self, wanted: Json) -> Json:
        """See :meth:`nbdtun.reach.maker.Maker.look`."""
        return await self._made_by.look(wanted)

    async def make(self, plan: Json) -> str:
        """See :meth:`nbdtun.reach.maker.Maker.make`."""
        qmp = await self._made_by.make(plan)
        self._vms[self.name], self._left = qmp, ""
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
    def _made_by(self) -> Making:
        if self._maker is None:
            raise ReachError(f"{self.name}: nothing is made there, as `nbdtun receive` says", "leave --incoming and --libvirt out there")
        return self._maker

    def acknowledge(self, certificate: bytes, *, settled: bool) -> None:
        """
        The source with this ``certificate`` needs nothing any more; if it has ``settled`` the outcome, that is forgotten.

        So is that of the last source's own session if its guest never ran here.
        """
        self._sources.leave(certificate)
        latest = self._destination and self._destination.sessions.register.latest.get(self.name)
        if settled:
            self._told = latest.state if latest else self._outcomes.recall(self.name, None)
        if settled or (latest and latest.state is State.ABORTED and not self._sources):
            self._settled = latest.ident if latest else ""
            self._outcomes.forget(self.name)
        if settled and self._earlier is not None:
            self._settling = Deferred.fromCoroutine(self._earlier.settle())
            self._settling.addErrback(lambda failure: self.log.failure("what was made is still written down", failure=failure))

    @property
    def arrived(self) -> bool:
        """Whether the VM is here."""
        destination = self._destination
        if destination is None or destination.arrivals is None:
            latest = destination and destination.sessions.register.latest.get(self.name)
            return State.FINISHED in (self._told, latest and latest.state)
        domain = destination.arrivals.latest
        return domain is not None and domain.over and domain.arrived

    @property
    def monitor(self) -> str:
        """The monitor of its QEMU, as far as that is known."""
        return self._vms.get(self.name, "")

    def enter(self, talk: MakerTalk) -> None:
        """A near end has connected."""
        self._talks.add(talk)
        talk.when_lost().addCallback(lambda _: self._talks.discard(talk))

    def secrets(self) -> list[bytes]:
        """The secrets of the sources."""
        return self._sources.secrets

    def link(self, transport: Any, secret: bytes) -> None:
        """A link through ssh, of the source with this ``secret``."""
        assert self._destination is not None
        caller = Caller("the source, through ssh", "ssh", SOURCE_IDENTITY, "ssh", frozenset({SOURCE_IDENTITY}))
        self._destination.tunnel.arrived(detach(transport), caller)
