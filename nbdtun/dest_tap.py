"""``twistd nbdtun-dest``: one port, behind which stand the targets and the waiting VMs that its options list, and nothing else."""

from __future__ import annotations

from typing import ClassVar

from twisted.application.service import IService

from nbdtun.config import VM, DestinationSettings, Target
from nbdtun.daemon import Daemon
from nbdtun.errors import NbdtunError
from nbdtun.options import TunnelOptions, give_up, parse_each


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
        ["listen", None, None, "Where to listen for sources: a server endpoint such as tcp:10810."]
    ]

    settings: DestinationSettings

    def __init__(self) -> None:
        super().__init__()
        self._targets: list[str] = []
        self._vms: list[str] = []

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
        )


def makeService(options: Options) -> IService:
    """
    The service of a destination daemon, not yet running.

    :raise SystemExit: the settings cannot be used, such as an unreadable key; its text is one line.
    """
    from twisted.internet import reactor

    from nbdtun.service import destination_service

    try:
        return Daemon("nbdtun-dest", destination_service(reactor, options.settings))
    except NbdtunError as error:
        give_up("nbdtun-dest", error)
