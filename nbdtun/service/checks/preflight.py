"""The check of a migration of a QEMU's, through the tunnel that it would use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nbdtun.config import MigrateSettings
from nbdtun.config.settings import Dialling
from nbdtun.errors import ConfigError
from nbdtun.migration.catalogue import CERTIFICATES, CODE, SOCKETS, SOURCE, SSH, SSH_ASKS, UNPLANNED
from nbdtun.migration.check.checklist import Checklist, Once
from nbdtun.migration.check.departure import Departure
from nbdtun.migration.check.preflight import Preflight, leaving
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Check, Level
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


class Near:
    """
    The VM of a QEMU on this host, for checks with one destination after the other: the first one reads it, the others are told the same.

    ``settings`` are those for any of the destinations.
    """

    def __init__(self, reactor: Reactor, settings: MigrateSettings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._monitor = Monitor(reactor, settings.qmp, settings.migration.vm)
        self._here = Once(self._begin)
        self._departing = leaving(self._monitor, settings.migration)
        self._drawn = Once(lambda checklist: draw_from(self._monitor, settings.answers))

    def __repr__(self) -> str:
        return f"<Near {self._monitor!r}>"

    async def check(self, settings: MigrateSettings, checklist: Checklist, *, measure: bool) -> Report:
        """
        Check it with the destination of ``settings``; nothing is changed.

        ``measure`` also fills the tunnel for two seconds, and has QEMU sample for one second how fast the guest changes its memory. A
        problem is a finding, not an error.
        """
        reached, source = await reach(self._reactor, settings, settings.migration.vm, checklist)
        try:
            return await self._judge(settings, checklist, reached, source, measure)
        finally:
            try:
                if source is not None:
                    await source.drain(SETTLE)
            finally:
                if source is not None:
                    await source.stop()
                if reached is not None:
                    await reached.acknowledge(settled=False)
                    await reached.close()

    async def _judge(
        self, settings: MigrateSettings, checklist: Checklist, reached: Far | None, source: Source | None, measure: bool
    ) -> Report:
        if source is not None:
            check_tls(checklist, settings)
        monitor = self._monitor if await self._here.into(checklist) else None
        rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
        if reached is not None and source is not None and needs_making(settings, reached):
            if monitor is not None:
                await self._plan(reached, checklist)
            return await the_rest(self._reactor, settings, checklist, rundir, monitor, None, departing=self._departing)
        if measure and reached is not None and checklist.level is not Level.FAILURE:
            await _compare(reached, checklist)
        return await the_rest(self._reactor, settings, checklist, rundir, monitor, source, measure, self._departing)

    async def _begin(self, checklist: Checklist) -> bool:
        """Connect the monitor, and hold nothing; returns whether it is connected."""
        settings, name = self._settings, Name.of_vm(self._settings.migration.vm, self._settings.qmp)

        async def claim() -> None:
            refuse_second(settings.tunnel.run_dir, name)

        rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
        return await begin(settings, checklist, rundir, self._monitor, None, claim, Hold(self._reactor, settings.qmp).look)

    async def _plan(self, reached: Far, checklist: Checklist) -> None:
        """Note what is in the way of a destination that is made there."""
        with checklist.collecting(UNPLANNED):
            planned = await examine(await self._drawn.into(checklist), reached.far)
            for finding in planned.findings:
                checklist.add(finding)
            checklist.spaces = planned.found.spaces
            if planned.fit:
                checklist.ok(Check.PLACE, f"its destination can be made there, with QEMU {planned.found.release}: see nbdtun plan")

    async def close(self) -> None:
        """Leave its monitor."""
        await self._monitor.close()


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
    departing: Once[Departure] | None = None,
) -> Report:
    """The other checks, as far as there are a ``monitor`` and a ``source``; ``departing`` has read it already, or will."""
    carrier = None if source is None else TunnelCarrier(reactor, source, rundir)
    reading = None if monitor is None else departing
    return await Preflight(reactor, monitor, carrier, settings.migration, checklist, settings.peer_name, reading).run(measure)


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
