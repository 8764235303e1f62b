"""``twistd nbdtun-dest``: one port, which leads to the targets and waiting VMs of its options, and to nothing else."""

from __future__ import annotations

from twisted.application.service import IService

from nbdtun.config import DestinationSettings, Limits
from nbdtun.config.build import tunnel_settings
from nbdtun.config.options import DRAIN_TIMEOUT, MAX_CHANNELS, Option
from nbdtun.daemon.options import TUNNEL, DeclaredOptions, give_up
from nbdtun.daemon.service import Daemon
from nbdtun.errors import NbdtunError
from nbdtun.logs import make_logger
from nbdtun.process import make_room, needed, settle_in

log = make_logger()


LISTEN = Option("listen", "Where to listen for sources, such as 10810 or ADDRESS:10810.", "ENDPOINT")
TARGET = Option(
    "target",
    "Let sources reach a socket by a name, such as nbd=unix:/run/qemu/nbd.sock.",
    "NAME=CLIENT-ENDPOINT",
    "nbdtun.config.values:Target.parse",
    repeatable=True,
)
VM = Option(
    "vm",
    "Receive a VM of this name in the QEMU with this QMP socket, such as web1=/run/qemu/web1-incoming.qmp.",
    "NAME=PATH",
    "nbdtun.config.values:VM.parse",
    repeatable=True,
)
ALLOW = Option(
    "allow",
    "Admit only sources whose certificate has a matching name: CN, DNS name, e-mail address or URI. * matches anything.",
    "PATTERN",
    "nbdtun.tunnel.destination.allowlist:check_pattern",
    unset="every certificate of the CA",
    repeatable=True,
)
_COUNT = "nbdtun.units:parse_count"
LIMITS = (
    MAX_CHANNELS,
    Option("max-channels-per-peer", "The same for one source: one certificate, or one address without TLS.", "COUNT", _COUNT, "512"),
    Option("max-handshakes", "Connections that may wait to open a channel; beyond that the oldest are closed.", "COUNT", _COUNT, "256"),
    Option(
        "max-handshakes-per-address",
        "The same for one address (IPv6: one /64) that has not shown a certificate yet.",
        "COUNT",
        _COUNT,
        "128",
    ),
)


class Options(DeclaredOptions, declared=(LISTEN, TARGET, VM, ALLOW, *TUNNEL, DRAIN_TIMEOUT, *LIMITS)):
    """The options of ``twistd nbdtun-dest``."""

    synopsis = "--listen ENDPOINT --tls-dir DIR [--target NAME=ENDPOINT]... [--vm NAME=SOCKET]..."
    longdesc = (
        "The destination end of the tunnel, on the host that a VM moves to. It listens on one encrypted port, connects the source's "
        "channels to the sockets of --target, and receives the VMs of --vm, whose QEMUs are started with -S -incoming defer. Nothing "
        "else can be reached, whatever a peer sends. Endpoints are Twisted's endpoint strings; sizes and times are written like 16MiB "
        "and 300s."
    )

    settings: DestinationSettings

    def build(self) -> DestinationSettings:
        """Read all options at once."""
        return DestinationSettings(
            tunnel=tunnel_settings(self.given(*TUNNEL)),
            listen=self.required(LISTEN),
            targets=self.value(TARGET),
            vms=self.value(VM),
            allow=self.value(ALLOW),
            drain_timeout=self.value(DRAIN_TIMEOUT),
            limits=Limits(**{key.removeprefix("max_"): count for key, count in self.given(*LIMITS).items()}),
        )


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

    from nbdtun.service import DaemonControl, DestinationService

    settle_in(reactor)
    make_room_for(options.settings.limits)
    try:
        destination = DestinationService(reactor, options.settings)
    except NbdtunError as error:
        give_up("nbdtun-dest", error)
    return Daemon(reactor, "nbdtun-dest", options.parent or {}, destination, DaemonControl.of(destination, "nbdtun-dest"))
