"""The check of a migration, through the tunnel that it would use: for the command, and for embedders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred

from nbdtun.config import MigrateSettings
from nbdtun.config.settings import Dialling
from nbdtun.errors import ConfigError
from nbdtun.migration.catalogue import CERTIFICATES, CODE, SOCKETS, SOURCE, SSH, SSH_ASKS, UNPLANNED
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.preflight import Preflight
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Check, Finding, Level
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.process import Reactor
from nbdtun.service.checks import access, certificates
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import refuse_second, trustees
from nbdtun.service.local.monitors import Hold
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.planning import draw_from, examine, needs_making
from nbdtun.service.tunnel.build import make_source
from nbdtun.service.tunnel.carrier import TunnelCarrier
from nbdtun.service.tunnel.far import Far, far_of
from nbdtun.service.tunnel.reached import Step
from nbdtun.tls.store import CLIENT_CERT
from nbdtun.tunnel.source.client import Source
from nbdtun.units import rate_text

#: Seconds for the channels to end by themselves once all is checked.
SETTLE = 3.0


def check(
    reactor: Reactor, settings: MigrateSettings, report: Callable[[Finding], None] = lambda finding: None, *, measure: bool = True
) -> Deferred[Report]:
    """
    Check whether a migration with these settings would work, and how long it would take; nothing is changed.

    ``report`` is called with each finding. ``measure`` also fills the tunnel for two seconds, and has QEMU sample for one second how fast
    the guest changes its memory. The Deferred fires with the whole report; a problem is a finding, not an error.
    """
    return Deferred.fromCoroutine(_check(reactor, settings, Checklist(report), measure))


async def _check(reactor: Reactor, settings: MigrateSettings, checklist: Checklist, measure: bool) -> Report:
    reached, source = await reach(reactor, settings, settings.migration.vm, checklist)
    rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
    monitor = Monitor(reactor, settings.qmp, settings.migration.vm)
    name = Name.of_vm(settings.migration.vm, settings.qmp)

    async def claim() -> None:
        refuse_second(settings.tunnel.run_dir, name)

    try:
        connected = await begin(settings, checklist, rundir, monitor, source, claim, Hold(reactor, settings.qmp).look)
        if reached is not None and source is not None and needs_making(settings, reached):
            if connected:
                await _plan(monitor, settings, reached, checklist)
            return await the_rest(reactor, settings, checklist, rundir, monitor if connected else None, None)
        if measure and reached is not None and checklist.level is not Level.FAILURE:
            await _compare(reached, checklist)
        return await the_rest(reactor, settings, checklist, rundir, monitor if connected else None, source, measure)
    finally:
        try:
            if source is not None:
                await source.drain(SETTLE)
        finally:
            if source is not None:
                await source.stop()
            await monitor.close()
            if reached is not None:
                await reached.acknowledge(settled=False)
                await reached.close()


async def reach(reactor: Reactor, settings: Dialling, vm: str, checklist: Checklist) -> tuple[Far | None, Source | None]:
    """The far end, if ssh or a code leads to one for ``vm``, and the source's end of the tunnel there; None if there can be no tunnel."""
    kind = SSH if settings.code is None else CODE

    def say(line: str) -> None:
        if not isinstance(line, Step):
            checklist.ok(kind.check, line)

    reached = far_of(reactor, settings, vm, say)
    if reached is None:
        return None, source_of(reactor, settings, checklist)
    with checklist.collecting(kind):
        return reached, Source(await reached.open())
    return reached, None


async def _plan(monitor: Monitor, settings: MigrateSettings, reached: Far, checklist: Checklist) -> None:
    """Note what is in the way of a destination that is made there."""
    with checklist.collecting(UNPLANNED):
        planned = await examine(await draw_from(monitor, settings.answers), reached.far)
        for finding in planned.findings:
            checklist.add(finding)
        checklist.spaces = planned.found.spaces
        if planned.fit:
            checklist.ok(Check.PLACE, f"its destination can be made there, with QEMU {planned.found.release}: see nbdtun plan")


async def _compare(reached: Far, checklist: Checklist) -> None:
    """Note how fast links through ssh would be, where they go over a port."""
    with checklist.collecting(SSH_ASKS):
        rate = await reached.other_speed()
        if rate is not None:
            checklist.ok(Check.SSH, f"through ssh, one channel would carry {rate_text(rate)}")


async def begin(
    settings: MigrateSettings,
    checklist: Checklist,
    rundir: RunDir,
    monitor: Monitor,
    source: Source | None,
    claim: Callable[[], Awaitable[None]],
    connect: Callable[[Monitor], Awaitable[None]],
) -> bool:
    """
    The first checks, which a migration makes too: of this host, and whether ``connect`` can connect ``monitor``; returns that.

    ``claim`` comes before it, where the run directory can be used: it fails for a VM that another process is migrating, whose monitor would
    keep ``connect`` waiting.
    """
    if source is not None:
        check_tls(checklist, settings)
    usable = check_own_sockets(checklist, rundir)
    with checklist.collecting(SOURCE):
        if usable:
            await claim()
        await connect(monitor)
        if usable and monitor.credentials is not None:
            access.check_access_of(checklist, SOCKETS, rundir, monitor.credentials)
        return True
    return False


async def the_rest(
    reactor: Reactor,
    settings: MigrateSettings,
    checklist: Checklist,
    rundir: RunDir,
    monitor: Monitor | None,
    source: Source | None,
    measure: bool = False,
) -> Report:
    """The other checks, as far as there are a ``monitor`` and a ``source``."""
    carrier = None if source is None else TunnelCarrier(reactor, source, rundir)
    return await Preflight(reactor, monitor, carrier, settings.migration, checklist, settings.peer_name).run(measure)


def source_of(reactor: Reactor, settings: Dialling, checklist: Checklist) -> Source | None:
    """The source's end of the tunnel; None if its certificates cannot be used."""
    with checklist.collecting(CERTIFICATES[0]):
        return make_source(reactor, settings)
    return None


def check_tls(checklist: Checklist, settings: Dialling) -> None:
    """Note until when our certificates are valid."""
    if settings.by_ssh is not None or settings.code is not None:
        checklist.ok(Check.TLS, "both ends have certificates for this migration alone")
    elif settings.tunnel.store is not None:
        certificates.check_certificates(checklist, CERTIFICATES, settings.tunnel.store, CLIENT_CERT)
    else:
        checklist.ok(Check.TLS, "TLS is off: there is no --tls-dir")


def check_own_sockets(checklist: Checklist, rundir: RunDir) -> bool:
    """Note if this process could not make its sockets, or others could replace its control socket; returns whether all is well."""
    with checklist.collecting(SOCKETS[0]):
        if not access.check_own_access(checklist, SOCKETS[0], rundir):
            return False
        try:
            trustees(rundir.base)
        except FileNotFoundError:
            pass  # there is none yet
        except OSError as error:
            raise ConfigError(f"run directory {rundir.base}: {error.strerror}", "choose another with --run-dir") from None
        return True
    return False
