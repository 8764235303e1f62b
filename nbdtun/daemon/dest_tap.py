"""``nbdtun dest`` and ``twistd nbdtun-dest``: one port, which leads to the targets and waiting VMs of its options, and to nothing else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.application.service import IService

from nbdtun.config import DestinationSettings, Limits, VMPattern
from nbdtun.config.build import tunnel_settings
from nbdtun.config.capacity import LIMITS, MAX_ARRIVALS, WORKERS, usable_cores, workers
from nbdtun.config.options import ADMIT, ALLOW, DESTINATION, DRAIN_TIMEOUT, LIBVIRT, LISTEN, TARGET, TUNNEL, VM
from nbdtun.daemon.options import DeclaredOptions, give_up
from nbdtun.daemon.program import place, predecessor
from nbdtun.daemon.reload import Reload
from nbdtun.daemon.service import Daemon
from nbdtun.errors import NbdtunError
from nbdtun.logs import make_logger
from nbdtun.process import make_room, needed, settle_in
from nbdtun.units import listed

if TYPE_CHECKING:
    from nbdtun.service.local.listening import ListeningService

log = make_logger()


class Options(DeclaredOptions, declared=DESTINATION):
    """The options of ``nbdtun dest`` and ``twistd nbdtun-dest``."""

    plugin = "nbdtun-dest"
    synopsis = "--listen ENDPOINT --tls-dir DIR [--target NAME=ENDPOINT]... [--vm NAME=SOCKET]... [--libvirt[=URI]]"
    longdesc = (
        "The destination end of the tunnel, on the host that a VM moves to. It listens on one encrypted port, connects the source's "
        "channels to the sockets of --target, and receives the VMs of --vm, whose QEMUs are started with -S -incoming defer. With "
        "--libvirt it receives VMs of libvirt's. Nothing else can be reached, whatever a peer sends."
    )

    settings: DestinationSettings
    #: The processes that carry the channels.
    workers = 1

    def build(self) -> DestinationSettings:
        """Read all options at once."""
        from nbdtun.service.tunnel.records import hindrance

        tunnel = tunnel_settings(self.given(*TUNNEL))
        self.workers = workers(self.value(WORKERS), usable_cores(), hindrance(tunnel))
        return DestinationSettings(
            tunnel=tunnel,
            listen=self.required(LISTEN),
            targets=self.value(TARGET),
            vms=self.value(VM),
            libvirt=self.value(LIBVIRT) or "",
            admit=self.value(ADMIT),
            allow=self.value(ALLOW),
            drain_timeout=self.value(DRAIN_TIMEOUT),
            max_arrivals=self.value(MAX_ARRIVALS),
            limits=Limits(**{key.removeprefix("max_"): count for key, count in self.given(*LIMITS).items()}),
        )

    def account(self) -> str:
        """The line that says what is served, once it is."""
        settings = self.settings
        vms = [f"{one.names} at {one.qmp}" if isinstance(one, VMPattern) else one.name for one in settings.vms]
        served = (("VM", vms), ("target", [target.name for target in settings.targets]))
        libvirt = [f"VMs of libvirt at {settings.libvirt}"] if settings.libvirt else []
        words = [f"{noun}{'s' * (len(names) > 1)} {listed(names)}" for noun, names in served if names] + libvirt
        return f"listening on {settings.listen}{'' if settings.tunnel.tls_dir else ' without TLS'}, for {' and '.join(words)}"

    def look(self) -> None:
        """Read the certificates."""
        from nbdtun.service.tunnel.build import make_trust

        make_trust(self.settings.tunnel, server=True)


def make_room_for(limits: Limits) -> None:
    """Raise the limit of open files for ``limits``; log a warning if the hard limit is too low."""
    wanted = needed(limits.channels, limits.handshakes)
    allowed = make_room(wanted)
    if allowed < wanted:
        log.warn(
            "the open-file limit of {allowed} (ulimit -Hn) is too low for --max-channels {channels}; raise it to {wanted}",
            allowed=allowed,
            channels=limits.channels,
            wanted=wanted,
        )


def makeService(options: Options) -> IService:
    """
    Make the service of a destination daemon, not yet running.

    :raise SystemExit: the settings cannot be used, such as an unreadable key; its text is one line.
    """
    from twisted.internet import reactor

    from nbdtun.daemon import worker
    from nbdtun.service import DaemonControl, DestinationService

    settle_in(reactor)
    make_room_for(options.settings.limits)
    link = predecessor(partial(give_up, "nbdtun-dest"))
    try:
        hands = worker.workers("nbdtun-dest", options.workers)
        destination = DestinationService(reactor, options.settings, succeeds=link is not None, workers=hands)
    except NbdtunError as error:
        give_up("nbdtun-dest", error)

    def take(settings: DestinationSettings) -> None:
        destination.take(settings)
        make_room_for(settings.limits)

    reload = Reload(options, take)
    measuring: list[ListeningService] = []
    if options.settings.tunnel.metrics:
        from nbdtun.metrics.service import MetricsService

        measuring.append(MetricsService.of_destination(reactor, destination))
    program, succession = place(reactor, destination.household, lambda: [*destination.ports.listening, *measuring], link)
    control = DaemonControl.of(destination, "nbdtun-dest", reload, succession if options.parent is None else None)
    reload.whole = control.reload
    services = [destination, *measuring, succession, control]
    daemon = Daemon(reactor, "nbdtun-dest", options.parent or {}, *services, reload=reload)
    program.join(daemon)
    return daemon
