"""``twistd nbdtun-dest``: one port, behind which stand the targets and the waiting VMs that its options list, and nothing else."""

from __future__ import annotations

from typing import ClassVar

from twisted.application.service import IService

from nbdtun.config import VM, DestinationSettings, Target
from nbdtun.daemon.options import TunnelOptions, give_up, parse_each
from nbdtun.daemon.service import Daemon
from nbdtun.errors import NbdtunError
from nbdtun.logs import make_logger
from nbdtun.process import make_room, needed, steady
from nbdtun.tunnel.destination.allowlist import check_pattern
from nbdtun.tunnel.settings import Limits
from nbdtun.units import parse_count

log = make_logger()


class Options(TunnelOptions):
    """The options of ``twistd nbdtun-dest``."""

    synopsis = "--listen ENDPOINT --tls-dir DIR [--target NAME=ENDPOINT]... [--vm NAME=SOCKET]..."
    longdesc = (
        "The destination end of the tunnel, on the host that a VM moves to. It listens on one encrypted port, connects the source's "
        "channels to the sockets that --target lists, and receives the VMs that --vm lists, whose QEMUs were started with -S -incoming "
        "defer. What is not listed cannot be reached, whatever a peer sends. Endpoints are Twisted's endpoint strings; sizes and times "
        "are written like 16MiB and 300s."
    )
    optParameters: ClassVar[list[list[str | None]]] = [
        ["listen", None, None, "Where to listen for sources: a server endpoint such as tcp:10810."],
        ["max-channels", None, "1024", "Channels that it serves at a time."],
        ["max-channels-per-peer", None, "512", "The same for one source: one certificate, or one address where there is no TLS."],
        ["max-handshakes", None, "256", "Connections at a time that are not links yet; when there are more, older ones go."],
        ["max-handshakes-per-address", None, "128", "The same for one address (IPv6: one /64) that has not shown a certificate yet."],
    ]

    settings: DestinationSettings

    def __init__(self) -> None:
        super().__init__()
        self._targets: list[str] = []
        self._vms: list[str] = []
        self._allow: list[str] = []

    def opt_allow(self, text: str) -> None:
        """
        Admit sources whose certificate has a name that fits this pattern (CN, or a DNS name, e-mail address or URI; ``*`` stands for
        anything). May be given often. [default: all that the CA has signed]
        """
        self._allow.append(text)

    def opt_target(self, text: str) -> None:
        """Let sources reach a socket by a name: NAME=CLIENT-ENDPOINT, such as nbd=unix:/run/qemu/nbd.sock. May be given often."""
        self._targets.append(text)

    def opt_vm(self, text: str) -> None:
        """Receive a VM: NAME=PATH of its QMP socket, such as web1=/run/qemu/web1-incoming.qmp. May be given often."""
        self._vms.append(text)

    def build(self) -> DestinationSettings:
        """Read all options at once."""
        return DestinationSettings(
            tunnel=self.tunnel(),
            listen=self.required("listen", str),
            targets=parse_each("target", self._targets, Target.parse),
            vms=parse_each("vm", self._vms, VM.parse),
            allow=parse_each("allow", self._allow, check_pattern),
            limits=self._limits(),
        )

    def _limits(self) -> Limits:
        return Limits(
            channels=self.required("max-channels", parse_count),
            channels_per_peer=self.required("max-channels-per-peer", parse_count),
            handshakes=self.required("max-handshakes", parse_count),
            handshakes_per_address=self.required("max-handshakes-per-address", parse_count),
        )


def make_room_for(limits: Limits) -> None:
    """See that so many descriptors can be open, or say in the log that they cannot."""
    wanted = needed(limits.channels, limits.handshakes)
    allowed = make_room(wanted)
    if allowed < wanted:
        log.warn(
            "the limit of open files is {allowed} (ulimit -Hn), which is not enough for --max-channels {channels}: that needs {wanted}",
            allowed=allowed,
            channels=limits.channels,
            wanted=wanted,
        )


def makeService(options: Options) -> IService:
    """
    The service of a destination daemon, not yet running.

    :raise SystemExit: the settings cannot be used, such as an unreadable key; its text is one line.
    """
    from twisted.internet import reactor

    from nbdtun.service import destination_service, governor_service

    steady(reactor)
    make_room_for(options.settings.limits)
    try:
        destination = destination_service(reactor, options.settings)
    except NbdtunError as error:
        give_up("nbdtun-dest", error)
    governor = governor_service(reactor, options.settings.tunnel.run_dir, "nbdtun-dest", destination)
    return Daemon(reactor, "nbdtun-dest", options.parent or {}, destination, governor)
