"""The service behind ``twistd nbdtun-dest``: one port, the targets behind it, and the VMs that may arrive."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from nbdtun.config import VM, DestinationSettings, FactoryTarget, Target, VMPattern
from nbdtun.config.endpoints import Role, parse
from nbdtun.deferreds import end_of, shield, with_timeout
from nbdtun.errors import ShuttingDown
from nbdtun.libvirt.far.control import LibvirtControl
from nbdtun.logs import make_logger
from nbdtun.migration.bond import Party
from nbdtun.migration.catalogue import DESTINATION_CERTIFICATES, DESTINATION_SOCKETS
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.destination.draining import Draining
from nbdtun.migration.destination.sessions import STOPPED, Sessions
from nbdtun.ownership.reach import Credentials
from nbdtun.process import Reactor, quiet_factory
from nbdtun.service.checks import access, certificates
from nbdtun.service.doing import Pace, doing
from nbdtun.service.libvirt.clearing import Belongings, Beside
from nbdtun.service.libvirt.destination import make_arrivals, rules_of
from nbdtun.service.local.listening import ListeningService, LocalEndpoint
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.local.vms import VMs
from nbdtun.service.local.waiting import listed, patience
from nbdtun.service.succession.household import Household
from nbdtun.service.succession.ports import Ports
from nbdtun.service.survey import arrivals_of, certificates_of, links_of, sessions_of, vms_of
from nbdtun.service.tunnel.build import make_client, make_listener, make_runtime, make_trust, retrust
from nbdtun.service.tunnel.carrier import TunnelEgress
from nbdtun.service.tunnel.records import explain, fixed
from nbdtun.service.workers.crew import Crew, Workers
from nbdtun.tls.store import SERVER_CERT
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.allowlist import AllowList
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.destination.sink import Sink
from nbdtun.tunnel.destination.targets import ClosedTarget, EndpointTarget, LocalTarget, PersonalTarget, Targets
from nbdtun.tunnel.settings import CONTROL, SINK
from nbdtun.units import duration_text

#: Seconds between two looks at migrations of libvirt's that are waited for.
LOOK = 0.5


class DestinationService(MultiService):
    """
    Serves sources on the settings' endpoint. When stopped, it stops listening, removes its sockets, ends its channels, and undoes the
    migrations under way; :meth:`drain` before that saves them.

    ``vms`` is a table of VMs in the place of the settings' own, which may change while it runs. Where it ``succeeds`` a process that lives,
    nothing was left behind. ``workers`` have its channels, if there are to be some.

    :raise ConfigError: when made, if the certificates cannot be used; when started, if the port is taken.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: Reactor,
        settings: DestinationSettings,
        vms: Mapping[str, str] | None = None,
        *,
        succeeds: bool = False,
        workers: Workers | None = None,
    ) -> None:
        super().__init__()
        tunnel = settings.tunnel
        if tunnel.encrypted:
            self.log.info("{records}", records=explain(tunnel.records))
        self.settings = settings
        self._reactor = reactor
        self._rundir = RunDir(tunnel.run_dir, tunnel.socket_owner)
        self._trust = make_trust(tunnel, server=True)
        runtime = make_runtime(reactor, tunnel)
        self.tunnel = Destination(runtime, Targets(), self._trust, AllowList(settings.allow), settings.limits, insecure=tunnel.insecure)
        self._pace = Pace(self.tunnel.ledger, reactor.seconds)
        for target in settings.targets:
            self.tunnel.targets.add(target.name, self._target(target))
        self._egresses = itertools.count(1)  # directories are counted: nothing of a source's choosing names a file
        self._table = VMs(settings.vms)
        self._vms = self._table if vms is None else vms
        self.sessions = Sessions(reactor, self._vms, self._egress, surroundings=self._check_surroundings, places=self._table.places)
        self.sessions.capacity.most = settings.max_arrivals
        self._draining = Draining(self.sessions)
        self.draining = False
        self._beside = Beside(Belongings(settings.libvirt, tunnel.run_dir, tunnel.socket_owner))
        self.arrivals = make_arrivals(reactor, settings, self.tunnel, self._beside) if settings.libvirt else None
        self._succeeds = succeeds
        self._offered = {target.name for target in settings.targets}
        self._join(workers)
        self._receives = False
        if settings.vms or settings.libvirt:
            self._receive()

    def _join(self, workers: Workers | None) -> None:
        """This process among those of its daemon: those before and after it, and its workers."""
        self.listening = ListeningService(self._endpoint(self.settings.listen), self.tunnel)
        self.listening.setServiceParent(self)
        self.ports = Ports(self, self.listening, self._endpoint, encrypted=self.settings.tunnel.encrypted)
        having = (self.tunnel, self.ports, self.sessions, self.arrivals)
        self.household = Household(self._reactor, *having, self._answering, self._fixed, self._clean_up)
        self.crew = Crew.of(self.tunnel, self.settings.tunnel, workers, lambda: self.household.replaced_by is None)

    def _endpoint(self, text: str) -> LocalEndpoint:
        return make_listener(self._reactor, parse(text, Role.LISTEN), self.settings.tunnel)

    def _receive(self) -> None:
        """Let sources ask for VMs."""
        if not self._receives:
            self._receives = True
            self.tunnel.targets.add(CONTROL, PersonalTarget(self._control))
            self.tunnel.targets.add(SINK, Sink(self.tunnel.runtime.selector))

    def serve(self, add: Iterable[VM | VMPattern], remove: Iterable[str] = ()) -> list[str]:
        """
        Serve VMs besides, and some no longer, by their names; return all that are served then. Migrations under way go on.

        :raise ShuttingDown: it is draining.
        :raise ConfigError: one to remove is not served.
        """
        self._refuse_changes()
        add, gone = tuple(add), [self._table.find(text) for text in remove]
        self._table.change(add, gone, self.sessions.register.busy)
        if add:
            self._receive()
        self.log.info("serves {vms} from now on", vms=listed(self._table.texts))
        return self._table.texts

    def take(self, settings: DestinationSettings) -> None:
        """
        Go on with ``settings``, which differ from those in force only where a running daemon can change: targets, VMs, ``allow``, limits,
        bandwidth, ``drain_timeout`` and the certificates. Channels and migrations under way are left alone, and what :meth:`serve` has
        changed stays.

        :raise ShuttingDown: it is draining.
        :raise ConfigError: the certificates or a target cannot be used; then nothing has changed.
        """
        self._refuse_changes()
        before = self.settings
        targets = {each.name: self._target(each) for each in settings.targets if each not in before.targets}  # first what can fail
        retrust(self._trust, before.tunnel, settings.tunnel)
        self._retarget(before.targets, settings.targets, targets)
        gone = [vm for vm in before.vms if vm not in settings.vms]
        self._table.change([vm for vm in settings.vms if vm not in before.vms], gone, self.sessions.register.busy)
        if settings.vms:
            self._receive()
        self.tunnel.allow = AllowList(settings.allow)
        self.tunnel.limit(settings.limits)
        self.sessions.capacity.most = settings.max_arrivals
        if settings.tunnel.bandwidth != before.tunnel.bandwidth:
            self.tunnel.runtime.throttle.rate = settings.tunnel.bandwidth
        if self.arrivals is not None:
            self.arrivals.rules, self.arrivals.capacity.most = rules_of(settings), settings.max_arrivals
        self.settings = settings

    def _retarget(
        self,
        before: Sequence[Target | FactoryTarget],
        now: Sequence[Target | FactoryTarget],
        made: Mapping[str, EndpointTarget | LocalTarget],
    ) -> None:
        for target in before:
            if target not in now:
                self.tunnel.targets.remove(target.name)
        for name, new in made.items():
            self.tunnel.targets.add(name, new)
        self._offered.update(target.name for target in now)  # those that are gone may have channels still

    def _refuse_changes(self) -> None:
        if self.draining:
            raise ShuttingDown("the daemon is shutting down, and takes no changes")

    def startService(self) -> None:
        """Start; first remove the directories of killed daemons, then what they have left in the QEMUs."""
        super().startService()
        self.crew.open()
        if not self._succeeds:
            self._clean_up()

    def _clean_up(self) -> None:
        """Remove what a process has left that was killed: of an earlier daemon, or the one before this one."""
        if self.draining or not self.running:
            return
        self._rundir.sweep()
        self.sessions.start()
        if self.arrivals is not None:
            Deferred.fromCoroutine(self.arrivals.sweep()).addErrback(
                lambda failure: self.log.failure("what an earlier daemon has left of libvirt's cannot be removed", failure=failure)
            )

    def drain(self) -> Deferred[None]:
        """
        Begin nothing new, wait for memory, handovers and channels that are under way, for at most the settings' ``drain_timeout``, and
        leave the sessions that still copy disks to the next daemon. Then there is nothing left but to stop.

        Until they are left, the port stays open: a lost link is restored. Cancelling the Deferred ends the wait; stop the service then.
        """
        self.draining = True
        self.household.end_all()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        await self._draining.begin()
        if self.arrivals is not None:
            self.arrivals.close()
        for name in (*self._offered, *([SINK] if self._receives else [])):
            self.tunnel.targets.add(name, ClosedTarget())
        ending = Deferred.fromCoroutine(self._ended())
        if under_way := self.under_way:
            self.log.info("shutting down: {waiting}", waiting=patience(under_way, self.settings.drain_timeout))
        try:
            await with_timeout(self._reactor, self.settings.drain_timeout, ending, TimeoutError)
        except TimeoutError:
            await self._give_up()
        await shield(Deferred.fromCoroutine(self._leave()), lambda: None)

    async def _ended(self) -> None:
        await self._draining.received()
        await self.tunnel.drained(self._offered)
        if (earlier := self.household.earlier) is not None:  # its links come over this port
            await end_of(earlier.when_lost())
        while self.arrivals is not None and self.arrivals.under_way:
            await deferLater(self._reactor, LOOK)
        await self._draining.received()  # a session may have gone on meanwhile

    @property
    def under_way(self) -> list[str]:
        """What a shutdown would wait for, in words."""
        arriving = [f"libvirt's migration of {each.wanted.name}" for each in (self.arrivals.under_way if self.arrivals else ())]
        memory = [f"the memory of {vm}" for vm in self._draining.receiving]
        earlier = ["the program before this one"] * (self.household.earlier is not None)
        return [*memory, *arriving, *map("channel {}".format, self.tunnel.names(self._offered)), *earlier]

    async def _give_up(self) -> None:
        """The time is up: end what was waited for."""
        why = f"--drain-timeout ({duration_text(self.settings.drain_timeout)}) has passed"
        self.log.warn("{why}: ending {what}", why=why, what=listed(self.under_way))
        await self._draining.end(f"{STOPPED}: {why}")
        if self.arrivals is not None:
            await self.arrivals.stop(f"{STOPPED}: {why}")
        for target in self._offered:
            self.tunnel.reset(target, f"the destination was stopped: {why}")

    async def _leave(self) -> None:
        await super().stopService()  # first: no link comes back here
        self.tunnel.leave()
        await self._draining.leave()

    @property
    def port(self) -> int:
        """The TCP port that it listens on, once it does."""
        return self.listening.port

    @property
    def idle(self) -> bool:
        """Whether no channel is open, and no session under way."""
        return (
            self.household.earlier is None
            and self.tunnel.idle
            and not self.sessions.register.busy
            and not (self.arrivals and self.arrivals.under_way)
        )

    def _fixed(self) -> str:
        return "the daemon is shutting down" if self.draining else fixed(self.settings.tunnel)

    @property
    def _state(self) -> str:
        if self.draining:
            return "draining"
        return "serving" if self.household.replaced_by is None else "replaced"

    async def survey(self) -> dict[str, Any]:
        """What it serves, and what is under way, for `nbdtun status`."""
        vms = await vms_of(self.sessions, [VM(name, qmp) for name, qmp in self._vms.items()], self.household.receives)
        await self.crew.look()
        return {
            "listen": self.settings.listen,
            "state": self._state,
            **self.household.told,
            "waits_for": self.under_way if self.draining else [],
            **certificates_of(self.settings.tunnel.store, SERVER_CERT),
            **links_of(self.tunnel),
            "workers": self.crew.report,
            "sources": [{"source": source, "channels": count} for source, count in sorted(self.tunnel.owners.items())],
            "targets": [{"name": each.name, "channels": len(self.tunnel.names([each.name]))} for each in self.settings.targets],
            "vms": vms,
            "libvirt": self.settings.libvirt or None,
            "sessions": [*sessions_of(self.sessions, self.tunnel), *arrivals_of(self.arrivals, self.tunnel)],
        }

    def doing(self) -> str:
        """The same in a few words."""
        arriving = len(self.sessions.register.busy) + len(self.arrivals.under_way if self.arrivals else ())
        return doing(arriving, len(self.tunnel.channels), self._pace.look(), self.under_way if self.draining else None)

    def stopService(self) -> Deferred[None]:
        """Stop; fires when everything is closed and undone."""

        async def stop() -> None:
            self.household.end_all()
            await super(DestinationService, self).stopService()
            await self.sessions.stop()
            if self.arrivals is not None:
                await self.arrivals.stop(STOPPED)
            self._beside.end()
            await self.tunnel.stop()
            await self.crew.close()
            self._rundir.remove()

        return Deferred.fromCoroutine(stop())

    def _check_surroundings(self, checklist: Checklist, qemu: Credentials) -> None:
        if (store := self.settings.tunnel.store) is not None:
            certificates.check_certificates(checklist, DESTINATION_CERTIFICATES, store, SERVER_CERT)
        access.check_access(checklist, DESTINATION_SOCKETS, self._rundir, qemu)

    def _target(self, target: Target | FactoryTarget) -> EndpointTarget | LocalTarget:
        if isinstance(target, FactoryTarget):
            return LocalTarget(self._reactor, target.factory)
        return EndpointTarget(make_client(self._reactor, target.endpoint), target.endpoint)

    def _control(self, caller: Caller) -> LocalTarget:
        return LocalTarget(self._reactor, quiet_factory(lambda: self.household.door(caller)))

    def _answering(self, caller: Caller) -> DestinationControl:
        def still(vm: str) -> bool:
            return self.tunnel.allow.rights_of(caller.names).include(vm)

        party = Party(caller.identity, caller.names, caller.rights.include, secure=bool(caller.identity), still=still)
        if self.arrivals is None:
            return DestinationControl(self.sessions, party)
        return LibvirtControl(self.sessions, party, self.arrivals)

    def _egress(self, session: str, qemu: Credentials) -> TunnelEgress:
        owner = self._rundir.owner_for(qemu)
        users = {qemu.uid} if owner is None else {qemu.uid, owner.uid}
        return TunnelEgress(self._reactor, self.tunnel, self._rundir.subdirectory(f"{next(self._egresses)}", owner), users)
