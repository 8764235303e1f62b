"""``twistd nbdtun-source``: forwards local sockets through the tunnel, or migrates one VM through it, or both."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from attrs import frozen
from twisted.application.service import IService

from nbdtun.config import Forward, MigrateSettings, SourceSettings, TunnelSettings, check_name, check_socket_path
from nbdtun.config.belongings import all_of, parse_belongings
from nbdtun.config.timeouts import make_timeouts, parse_limit, parse_strategies, parse_timeout
from nbdtun.daemon.options import TunnelOptions, give_up, parse_each
from nbdtun.daemon.service import Daemon, leave
from nbdtun.errors import ConfigError, NbdtunError
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.timeouts import Timeouts
from nbdtun.process import make_room, needed, steady
from nbdtun.units import parse_duration, parse_rate

#: Channels for which there should be descriptors: as many as a destination serves by default.
CHANNELS = 1024

_MIGRATION_OPTIONS = ("qmp", "converge", "keep-source")
_ON_TIMEOUT = ("cancel", "force")


@frozen
class SourceTask:
    """What a source daemon is to do: either, or both."""

    forward: SourceSettings | None
    migrate: MigrateSettings | None


class Options(TunnelOptions):
    """The options of ``twistd nbdtun-source``."""

    synopsis = "--connect ENDPOINT --tls-dir DIR --forward TARGET=ENDPOINT... | --migrate VM --qmp SOCKET"
    longdesc = (
        "The source end of the tunnel, on the host that a VM leaves. Each connection to a forward's socket becomes a channel to the "
        "destination's target of that name, through one encrypted port, and outlives a lost network link. With --migrate, it moves a "
        "running VM with its disks to the QEMU that waits for it at the destination; without --forward the daemon then ends, with status "
        "0 if the VM runs there, 1 if it failed and runs on here, 3 if it is paused here and the destination cannot be asked. Endpoints "
        "are Twisted's endpoint strings; sizes and times are written like 500MiB and 300ms."
    )
    optFlags: ClassVar[list[list[str | None]]] = [
        ["keep-source", None, "Leave the migrated VM's source QEMU there, paused, instead of ending it."]
    ]
    optParameters: ClassVar[list[list[str | None]]] = [
        ["connect", None, None, "Where the destination listens: a client endpoint such as tcp:HOST:10810."],
        ["tls-name", None, None, "Name that the destination's certificate must have. [default: the host of --connect]"],
        ["migrate", None, None, "Migrate the VM that the destination knows by this name."],
        ["qmp", None, None, "QMP socket of the VM to migrate."],
        ["downtime", None, "300ms", "Pause of the guest that QEMU aims at."],
        ["converge", None, None, "What helps if the guest changes faster than it can be copied: write-blocking,auto-converge,downtime."],
        ["max-downtime", None, "5s", "Up to where --converge downtime raises --downtime."],
        ["stall-timeout", None, "5min", "How long no byte may move; none for no limit."],
        ["on-timeout", None, "cancel", "What --timeout does while disks or memory are copied: cancel, or force by pausing the guest."],
    ]

    settings: SourceTask

    def __init__(self) -> None:
        super().__init__()
        self._forwards: list[str] = []
        self._disks: list[str] = []
        self._urgent: list[str] = []
        self._allowed: list[str] = []
        self._timeouts: list[str] = []
        self._leave_behind: list[str] = []

    def opt_forward(self, text: str) -> None:
        """Forward a socket to a target: TARGET=SERVER-ENDPOINT, such as nbd=unix:/run/nbdtun/nbd.sock:mode=660. May be given often."""
        self._forwards.append(text)

    def opt_urgent(self, target: str) -> None:
        """Let this target's channels go ahead of the others under --bandwidth: the memory's, ahead of the disks'. May be given often."""
        self._urgent.append(target)

    def opt_disk(self, text: str) -> None:
        """Migrate this disk, by its node name or its drive's or device's id. May be given often. [default: all writable disks]"""
        self._disks.append(text)

    def opt_allow_mismatch(self, name: str) -> None:
        """Move it although the two machines differ in this: a name that `nbdtun check` tells. May be given often."""
        self._allowed.append(name)

    def opt_timeout(self, text: str) -> None:
        """
        How long the migration may last, or PHASE=TIME for one of its phases; none for no limit. May be given often.
        [default: prepare=5min, ready=5min, switchover=2min]
        """
        self._timeouts.append(text)

    def opt_leave_behind(self, text: str) -> None:
        """
        What the disks' images may lose, instead of being refused: snapshots (internal ones), bitmaps (persistent ones), or both.
        May be given often.
        """
        self._leave_behind.append(text)

    def build(self) -> SourceTask:
        """Read all options at once."""
        connect = self.required("connect", str)
        tunnel = self.tunnel(self["tls-name"])
        migrate = self._migration(tunnel, connect)
        forwards = parse_each("forward", self._forwards, Forward.parse)
        if not forwards and migrate is None:
            raise ConfigError("there is nothing to do: give --forward, or --migrate with --qmp")
        if self._urgent and not forwards:
            raise ConfigError("--urgent needs --forward")
        forward = SourceSettings(tunnel=tunnel, connect=connect, forwards=forwards, urgent=tuple(self._urgent)) if forwards else None
        return SourceTask(forward, migrate)

    def _migration(self, tunnel: TunnelSettings, connect: str) -> MigrateSettings | None:
        if self["migrate"] is None:
            self._refuse_without_migrate()
            return None
        wanted = MigrationSettings(
            vm=self.required("migrate", check_name),
            disks=tuple(self._disks) or None,
            bandwidth=self.read("bandwidth", parse_rate),
            leave_behind=all_of(parse_each("leave-behind", self._leave_behind, parse_belongings)),
            keep_source=bool(self["keep-source"]),
            allowed=tuple(self._allowed),
            downtime=self.required("downtime", parse_duration),
            converge=self.read("converge", parse_strategies) or frozenset(),
            max_downtime=self.required("max-downtime", parse_duration),
            timeouts=self._patience(),
        )
        return MigrateSettings(tunnel=tunnel, connect=connect, qmp=self.required("qmp", check_socket_path), migration=wanted)

    def _patience(self) -> Timeouts:
        if self["on-timeout"] not in _ON_TIMEOUT:
            raise ConfigError(f"--on-timeout: {self['on-timeout']!r} is not one of {', '.join(_ON_TIMEOUT)}")
        timeouts = parse_each("timeout", self._timeouts, parse_timeout)
        return make_timeouts(timeouts, self.required("stall-timeout", parse_limit), self["on-timeout"])

    def _refuse_without_migrate(self) -> None:
        given = [option for option in _MIGRATION_OPTIONS if self[option]]
        given += ["disk"] * bool(self._disks) + ["timeout"] * bool(self._timeouts) + ["allow-mismatch"] * bool(self._allowed)
        given += ["leave-behind"] * bool(self._leave_behind)
        if given:
            raise ConfigError(f"--{given[0]} needs --migrate")


def makeService(options: Options) -> IService:
    """
    The service of a source daemon, not yet running; one that has nothing to do but a migration ends the process after it.

    :raise SystemExit: the settings cannot be used, such as an unreadable key; its text is one line.
    """
    from twisted.internet import reactor

    from nbdtun.service import governor_service, migration_service, source_service

    steady(reactor)
    make_room(needed(CHANNELS, 0))
    forward, migrate = options.settings.forward, options.settings.migrate
    try:
        services: list[IService] = []
        if forward is not None:
            source = source_service(reactor, forward)
            services += [source, governor_service(reactor, forward.tunnel.run_dir, "nbdtun-source", source)]
        if migrate is not None:
            services.append(migration_service(reactor, migrate, *([partial(leave, reactor)] if forward is None else [])))
    except NbdtunError as error:
        give_up("nbdtun-source", error)
    return Daemon(reactor, "nbdtun-source", options.parent or {}, *services)
