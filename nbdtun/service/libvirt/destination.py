"""VMs of libvirt's that arrive at a destination: the targets of a session, of which one leads through a gate to this host's libvirt."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs
from uuid import UUID

from attrs import define, field

from nbdtun.config import DestinationSettings
from nbdtun.errors import NbdtunError, TargetUnreachable
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.arrival import Arrival
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.libvirt.rpc.gate import Gate, hands_over
from nbdtun.libvirt.rpc.grant import Grant
from nbdtun.libvirt.rpc.messages import Kind, Message, Status
from nbdtun.libvirt.rpc.places import places
from nbdtun.libvirt.rpc.proxy import Proxy
from nbdtun.libvirt.rpc.refusal import refuse
from nbdtun.libvirt.values import mode_of
from nbdtun.logs import make_logger
from nbdtun.migration.bond import Claim
from nbdtun.ownership.directories import remove_tree
from nbdtun.ownership.reacher import Reacher
from nbdtun.process import Reactor
from nbdtun.service.libvirt.clearing import Beside
from nbdtun.service.local.outcomes import state_dir
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.destination.targets import EndpointTarget, SessionTarget, Target, local_pair

#: The sockets of libvirt's daemons, the monolithic one first, as libvirt itself looks for them (remote_sockets.c, mode auto).
DAEMONS: Final = ("libvirt-sock", "virtqemud-sock")

#: Connections to libvirt of one migration at a time. libvirt makes one; each may keep a call of 8.1 MiB.
MOST: Final = 4


def rules_of(settings: DestinationSettings) -> Rules:
    """Which places of this host a domain may name."""
    return Rules(anywhere=True) if settings.admit is None else Rules(roots=settings.admit)


def make_arrivals(reactor: Reactor, settings: DestinationSettings, tunnel: Destination, beside: Beside) -> Arrivals:
    """What arrives at the libvirt that ``settings`` name, through ``tunnel``; from the first one on, ``beside`` stands by."""

    def doors(arrival: Arrival) -> TunnelDoors:
        beside.begin()
        return TunnelDoors(reactor, tunnel, arrival)

    arrivals = Arrivals(reactor, settings.libvirt, state_dir(settings.tunnel.run_dir), doors, rules_of(settings))
    arrivals.capacity.most = settings.max_arrivals
    return arrivals


def socket_of(uri: str) -> str:
    """The socket of the libvirt with this URI."""
    if given := parse_qs(uri.partition("?")[2]).get("socket"):
        return given[0]
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    base = own if mode_of(uri) == "session" else Path("/run")
    found = [base / "libvirt" / name for name in DAEMONS]
    return f"{next((each for each in found if each.exists()), found[0])}"


class TunnelDoors:
    """The targets of one ``arrival`` in the ``tunnel``: see :class:`nbdtun.libvirt.far.arrival.Doors`."""

    def __init__(self, reactor: Reactor, tunnel: Destination, arrival: Arrival) -> None:
        self._reactor = reactor
        self._tunnel = tunnel
        self._arrival = arrival
        self._open: list[str] = []

    def __repr__(self) -> str:
        return f"<TunnelDoors {', '.join(self._open) or 'closed'}>"

    def open(self) -> tuple[str, str, str]:
        """Let channels of its source in; returns the names of the targets of libvirt, the memory and the disks."""
        arrival = self._arrival
        owner = arrival.owner
        users = {os.geteuid()} if owner is None else {os.geteuid(), owner[0]}
        libvirt = self._admit("libvirt", GateTarget(self._reactor, self._tunnel, arrival, grant_of(arrival)))
        return libvirt, self._admit("memory", self._socket(arrival.memory, users)), self._admit("disks", self._socket(arrival.disks, users))

    def _socket(self, path: str, users: Collection[int]) -> EndpointTarget:
        return EndpointTarget(Reacher(self._reactor, path, users), f"unix:{path}")

    def _admit(self, kind: str, target: Target) -> str:
        name, bond = f"{kind}.{self._arrival.session}", self._arrival.bond
        self._tunnel.targets.add(name, SessionTarget(target, lambda names, secret: bond.admits(Claim(names, secret))))
        self._open.append(name)
        return name

    def close(self, why: str) -> None:
        """
        Let no channel in, and end those that are open, of which their source hears ``why``.

        The directory with QEMU's sockets is of no use then. Safe to repeat.
        """
        opened, self._open = self._open, []
        for name in opened:
            self._tunnel.targets.remove(name)
            self._tunnel.reset(name, why)
            self._tunnel.forget(name)
        if opened:
            remove_tree(os.path.dirname(self._arrival.memory))


def grant_of(arrival: Arrival) -> Grant:
    """What the tunnelled connection may be used for."""
    wanted = arrival.wanted
    return Grant(
        name=wanted.name,
        uuid=UUID(wanted.uuid),
        uri=arrival.uri.partition("?")[0].replace("+unix", ""),
        memory=f"unix://{arrival.memory}",
        disks=f"unix://{arrival.disks}" if wanted.images else "",
        places=frozenset[str]().union(*map(places, wanted.forms)),
    )


class GateTarget:
    """The libvirt of this host, behind a gate, for one ``arrival``: at most :data:`MOST` connections at a time."""

    log = make_logger()

    def __init__(self, reactor: Reactor, tunnel: Destination, arrival: Arrival, grant: Grant) -> None:
        self._reactor = reactor
        self._tunnel = tunnel
        self._arrival = arrival
        self._grant = grant
        self._open = 0

    async def connect(self, name: str) -> socket.socket:
        """
        Connect to libvirtd; returns the end of a socket pair, behind which the gate is.

        :raise TargetUnreachable: it cannot be reached, or has too many already.
        """
        if self._open >= MOST:
            raise TargetUnreachable(f"target {name}: {MOST} connections of this migration lead to libvirt already")
        self._open += 1
        try:
            ours, proxy = await self._join(name)
        except BaseException:
            self._open -= 1
            raise
        proxy.closed.addCallback(self._left)
        return ours

    def _left(self, _: None) -> None:
        self._open -= 1

    async def _join(self, name: str) -> tuple[socket.socket, Proxy]:
        path = socket_of(self._arrival.uri)
        libvirtd = await EndpointTarget(Reacher(self._reactor, path), f"unix:{path}").connect(name)
        ours, theirs = local_pair(name)
        gate = Doorkeeper(self._grant, self._arrival.handing_over, self._arrival.answered)
        try:
            return ours, Proxy(self._reactor, libvirtd, theirs, away=lambda: self._is_away(name), gate=gate, refused=self._tell)
        except OSError as failure:
            ours.close()
            raise TargetUnreachable(f"target {name}: {failure.strerror}") from failure

    def _is_away(self, name: str) -> bool:
        """Whether a link of its own channels is: another migration's says nothing."""
        return any(channel.target == name and channel.figures.since is not None for channel in self._tunnel.channels)

    def _tell(self, line: str) -> None:
        self.log.warn("{vm}: libvirt's connection: {line}", vm=self._arrival.wanted.name, line=line)


@define
class Doorkeeper(Gate):
    """
    A gate that calls ``handing_over`` before libvirt is told to let the guest run; what comes behind that waits meanwhile. ``answered`` is
    called with libvirt's answer: whether it runs.
    """

    handing_over: Callable[[], object]
    answered: Callable[..., object]
    _finish: int | None = field(default=None, init=False)

    def call(self, message: Message) -> Message | None:
        """Judge a message, as every gate does."""
        answer = super().call(message)
        if answer is None and hands_over(message):
            try:
                self.handing_over()
            except OSError as error:
                self.refused = f"the handover cannot be written down: {error}"
                return refuse(message, self.refused)
            except NbdtunError as error:
                self.refused = error.line
                return refuse(message, f"{error}")
            self._finish = message.serial
        return answer

    def answer(self, message: Message) -> bool:
        """Judge an answer, as every gate does."""
        if message.kind == Kind.REPLY and message.serial == self._finish:
            self._finish = None
            self.answered(runs=message.status == Status.OK)
        return super().answer(message)
