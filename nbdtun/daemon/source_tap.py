"""``nbdtun source`` and ``twistd nbdtun-source``: forwards local sockets through the tunnel, or migrates one VM through it, or both."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred

from nbdtun.config import LocalLimits, MigrateSettings, SourceSettings, TunnelSettings
from nbdtun.config.build import far_settings, migration_settings, tunnel_settings
from nbdtun.config.capacity import LOCAL_LIMITS, WORKERS, migrations_workers, usable_cores, workers
from nbdtun.config.options import (
    BANDWIDTH,
    CONNECT,
    DRAIN_TIMEOUT,
    FAR,
    FAR_TARGET,
    FORWARD,
    KEEP_SOURCE,
    MIGRATE,
    MIGRATION,
    QMP,
    SOURCE,
    TLS_NAME,
    TUNNEL,
    URGENT,
)
from nbdtun.config.settings import FarSettings
from nbdtun.config.ssh import is_ssh
from nbdtun.daemon.options import DeclaredOptions, give_up
from nbdtun.daemon.program import place, predecessor
from nbdtun.daemon.reload import Reload
from nbdtun.daemon.service import Daemon, leave
from nbdtun.errors import ConfigError, NbdtunError
from nbdtun.process import make_room, needed, settle_in
from nbdtun.units import listed

if TYPE_CHECKING:
    from nbdtun.service import SourceService
    from nbdtun.service.local.listening import ListeningService

_ONLY_MIGRATIONS = (QMP, KEEP_SOURCE, *MIGRATION)


@frozen
class SourceTask:
    """The work of a source daemon: either, or both."""

    forward: SourceSettings | None
    migrate: MigrateSettings | None

    @property
    def measured(self) -> bool:
        """Whether there are metrics of it."""
        return any(each is not None and each.tunnel.metrics for each in (self.forward, self.migrate))


class Options(DeclaredOptions, declared=SOURCE):
    """The options of ``nbdtun source`` and ``twistd nbdtun-source``."""

    plugin = "nbdtun-source"
    synopsis = "--connect ENDPOINT --tls-dir DIR --forward TARGET=ENDPOINT... | --migrate VM --qmp SOCKET"
    longdesc = (
        "The source end of the tunnel, on the host that a VM leaves. Each connection to a forward's socket becomes a channel to the "
        "destination's target of that name, through one encrypted port, and outlives a lost network link. With --migrate, it migrates a "
        "running VM with its disks to the QEMU that waits for it at the destination. Without --forward the daemon then ends, with status "
        "0 if the VM runs there, 1 if the migration failed and the VM still runs here, 3 if the outcome is unknown and the VM is paused "
        "here, 4 if the guest was lost at the destination and the VM is paused here."
    )
    settings: SourceTask
    #: The processes that carry the channels.
    workers = 1

    def build(self) -> SourceTask:
        """Read all options at once."""
        connect = self.required(CONNECT)
        tunnel = tunnel_settings(self.given(TLS_NAME, *TUNNEL))
        far = far_settings(self.given(*FAR, FAR_TARGET))
        migrate = self._migration(tunnel, connect, far)
        forwards, urgent = self.value(FORWARD), self.value(URGENT)
        if not forwards and migrate is None:
            raise ConfigError("nothing to do: give --forward, or --migrate with --qmp")
        if urgent and not forwards:
            raise ConfigError("--urgent needs --forward")
        if not forwards:
            self.workers = migrations_workers(self.value(WORKERS), usable_cores(), through_ssh=far.through_ssh)
            return SourceTask(None, migrate)
        by_ssh = (
            ("the far end that ssh starts is for one process", "start `nbdtun dest` there, and connect to it") if is_ssh(connect) else None
        )
        self.workers = workers(self.value(WORKERS), usable_cores(), by_ssh)
        limits = LocalLimits(**{key.removeprefix("max_"): count for key, count in self.given(*LOCAL_LIMITS).items()})
        drain = self.value(DRAIN_TIMEOUT)
        return SourceTask(
            SourceSettings(tunnel=tunnel, connect=connect, far=far, forwards=forwards, urgent=urgent, limits=limits, drain_timeout=drain),
            migrate,
        )

    def _migration(self, tunnel: TunnelSettings, connect: str, far: FarSettings) -> MigrateSettings | None:
        if not self.has(MIGRATE):
            given = [option.name for option in _ONLY_MIGRATIONS if option.default is None and self.has(option)]
            if given:
                raise ConfigError(f"--{given[0]} needs --migrate")
            return None
        wanted = migration_settings(self.required(MIGRATE), self.given(BANDWIDTH, KEEP_SOURCE, *MIGRATION))
        return MigrateSettings(tunnel=tunnel, connect=connect, far=evolve(far, targets=()), qmp=self.required(QMP), migration=wanted)

    def account(self) -> str:
        """The line that says what is done, once it has begun."""
        task = self.settings
        forward = task.forward
        words = [f"forwarding {listed(dict.fromkeys(each.target for each in forward.forwards))} to {forward.connect}"] if forward else []
        return " and ".join([*words, *([f"migrating {task.migrate.migration.vm} to {task.migrate.connect}"] if task.migrate else [])])

    def look(self) -> None:
        """Read the certificates."""
        from nbdtun.service.tunnel.build import make_trust

        for task in filter(None, (self.settings.forward, self.settings.migrate)):
            make_trust(task.tunnel, server=False)


def _take(source: SourceService, task: SourceTask) -> Deferred[None]:
    if task.forward is None:
        raise ConfigError("its last --forward cannot be removed while it runs", "stop the daemon")
    return Deferred.fromCoroutine(source.take(task.forward))


def makeService(options: Options) -> IService:
    """
    Make the service of a source daemon, not yet running. If its only work is a migration, the process ends after it.

    :raise SystemExit: the settings cannot be used, such as an unreadable key; its text is one line.
    """
    from twisted.internet import reactor

    from nbdtun.daemon import worker
    from nbdtun.service import DaemonControl, MigrationService, SourceService

    settle_in(reactor)
    forward, migrate = options.settings.forward, options.settings.migrate
    link = predecessor(partial(give_up, "nbdtun-source"))
    make_room(needed((forward.limits if forward else LocalLimits()).channels, 0))
    program, reload, hands = None, None, worker.workers("nbdtun-source", options.workers, asked=options.has(WORKERS))
    measuring: list[ListeningService] = []
    try:
        services: list[IService] = []
        if forward is not None:
            source = SourceService(reactor, forward, workers=hands)
            reload = Reload(options, partial(_take, source))
            program, succession = place(reactor, source.senders, lambda: [*source.listening.values(), *measuring], link)
            processes = succession if options.parent is None and migrate is None else None
            control = DaemonControl.of(source, "nbdtun-source", reload, processes)
            reload.whole = control.reload
            services += [source, succession, control]
        if migrate is not None:
            services.append(MigrationService(reactor, migrate, *([partial(leave, reactor)] if forward is None else []), workers=hands))
        if options.settings.measured:
            from nbdtun.metrics.service import MetricsService

            measuring.append(MetricsService.of_source(reactor, *services))
    except NbdtunError as error:
        give_up("nbdtun-source", error)
    services[:0] = measuring
    daemon = Daemon(reactor, "nbdtun-source", options.parent or {}, *services, outlives_terminal=migrate is not None, reload=reload)
    if program is not None:
        program.join(daemon)
    return daemon
