"""One migration of a VM of libvirt's with its tunnel, or the way out of an unknown outcome of one."""

from __future__ import annotations

import hashlib

from twisted.internet.defer import Deferred

from nbdtun.config.libvirt import DomainSettings
from nbdtun.config.settings import Dialling
from nbdtun.deferreds import shield
from nbdtun.errors import MigrationError, OutcomeUnknown
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.near.departure import Departure, Plan
from nbdtun.libvirt.near.resolve import Settlement
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.progress import Progress
from nbdtun.process import Reactor
from nbdtun.service.checks.preflight import check_own_sockets, check_tls
from nbdtun.service.control.audience import Audience
from nbdtun.service.control.migration import MigrationControl
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.service.libvirt.standby import Standby, Will
from nbdtun.service.libvirt.way import TunnelWay
from nbdtun.service.local.outcomes import state_dir
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.build import make_source
from nbdtun.service.tunnel.far import far_of
from nbdtun.service.tunnel.introduced import Introduced
from nbdtun.service.workers.crew import Workers
from nbdtun.service.workers.hired import Hired, useful_to_domain
from nbdtun.tunnel.source.client import Source

#: Seconds for the channels to end by themselves after the migration, and for their last frames to arrive.
SETTLE = 3.0

Work = type[Departure] | type[Settlement]


def plan_of(settings: DomainSettings) -> Plan:
    """The plan that the settings make."""
    return Plan(settings.migration, state_dir(settings.tunnel.run_dir), settings.answers, settings.dest_xml)


def name_of(settings: DomainSettings) -> Name:
    """The name of the migration's control socket: a VM has one at a time at its libvirt."""
    vm = settings.migration.vm
    return Name(vm, hashlib.sha256(f"{settings.uri} {vm}".encode()).hexdigest()[:10])


async def migrate(reactor: Reactor, settings: DomainSettings, audience: Audience, work: Work, workers: Workers | None = None) -> Progress:
    """
    Do the ``work`` that the settings describe, by way of ssh or a code if they say so.

    :raise OutcomeUnknown: the VM may run at the destination; it is paused at the source.
    :raise NbdtunError: it failed.
    """
    reached = far_of(reactor, settings, settings.migration.vm, audience.say)
    if reached is None:
        source = make_source(reactor, settings, one_daemon=True)
        return await _migrate(reactor, settings, source, audience, work, Hired(workers, settings, None, audience.say))
    settled = True
    try:
        source = Source(await reached.open())
        again = reached.again if isinstance(reached, Introduced) else settings
        return await _migrate(reactor, settings, source, audience, work, Hired(workers, settings, reached, audience.say), again)
    except OutcomeUnknown:
        settled = False
        raise
    except BaseException as error:
        settled = work is Settlement and type(error) is MigrationError  # an attempt that failed knows nothing of an earlier one
        raise
    finally:

        async def end() -> None:
            await reached.acknowledge(settled=settled)
            await reached.close()

        await shield(Deferred.fromCoroutine(end()), lambda: None)


async def _migrate(
    reactor: Reactor,
    settings: DomainSettings,
    source: Source,
    audience: Audience,
    work: Work,
    hands: Hired,
    again: Dialling | None = None,
) -> Progress:
    """The same through ``source``; ``again`` is how another process reaches the far end, if not by the settings."""
    rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
    controlled = MigrationControl(reactor, settings.migration.vm, settings.uri, audience.report, audience.log, settings.connect)
    control = ControlSocket(reactor, settings.tunnel.run_dir, name_of(settings), controlled)
    checklist = Checklist()
    libvirt = Libvirt(reactor, settings.uri)
    way = TunnelWay(reactor, source, rundir, beside=lambda ward: Standby(Will.of(again or settings, settings.migration.steps, ward)))
    try:
        check_tls(checklist, settings)
        if check_own_sockets(checklist, rundir):
            await control.open()
        checklist.refuse()
        await libvirt.open()
        audience.meet(source)
        controlled.workers = hands.report
        if hands.wanted:
            hands.begin(source, await useful_to_domain(libvirt, settings.migration))
        controlled.work = made = work(reactor, libvirt, way, plan_of(settings), controlled.heed)
        made.checklist = checklist
        return await made.run()
    except OutcomeUnknown:
        way.leave()
        raise
    finally:
        ending = _end(way, source, hands, libvirt, rundir, control)
        await shield(Deferred.fromCoroutine(ending), lambda: None)  # a cancel that comes now is too late


async def _end(way: TunnelWay, source: Source, hands: Hired, libvirt: Libvirt, rundir: RunDir, control: ControlSocket) -> None:
    await way.remove()
    await source.drain(SETTLE)
    await source.stop()
    await hands.close()
    libvirt.close()
    rundir.remove()
    await control.close()
    way.dismiss()
