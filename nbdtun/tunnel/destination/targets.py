"""
Targets: the names that a source may ask for, and the place that the destination connects to for each.

This is an allow-list: a peer sends a name, never a path, and a name that is not listed does not exist.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint

from nbdtun.errors import NotAllowed, ShuttingDown, TargetUnknown, TargetUnreachable
from nbdtun.process import Reactor, adopt, why_unconnected
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.opening.detach import connect
from nbdtun.tunnel.settings import BUILT_IN, shown
from nbdtun.tunnel.wires.tuning import make_roomy


class Target(Protocol):
    """A place that a channel can lead to."""

    async def connect(self, name: str) -> socket.socket:
        """
        Return a socket that is connected to it.

        :raise TargetUnreachable: it cannot be reached; the text has the operating system's reason.
        """


@frozen
class EndpointTarget:
    """A client endpoint, called ``label`` in messages."""

    endpoint: IStreamClientEndpoint
    label: str

    async def connect(self, name: str) -> socket.socket:
        """Connect to it now, never in advance: QEMU drops NBD clients that connect and stay silent."""
        try:
            return make_roomy(await connect(self.endpoint))
        except (ConnectError, OSError) as failure:
            raise TargetUnreachable(f"target {shown(name)}: {self.label}: {why_unconnected(failure)}") from failure


@frozen
class ClosedTarget:
    """A target of a daemon that is shutting down."""

    async def connect(self, name: str) -> socket.socket:
        """
        Refuse.

        :raise ShuttingDown: always.
        """
        raise ShuttingDown(f"target {name}: the destination's daemon is shutting down", "try again when it has been restarted")


@frozen
class LocalTarget:
    """A protocol in this process; a channel to it is like any other."""

    reactor: Reactor
    factory: IProtocolFactory

    async def connect(self, name: str) -> socket.socket:
        """
        Return one end of a socket pair, and give the other to the factory's protocol.

        :raise TargetUnreachable: there are too many open files.
        """
        ours, theirs = local_pair(name)
        try:
            with theirs:
                theirs.setblocking(False)
                adopt(self.reactor, theirs, self.factory)
        except OSError as failure:
            ours.close()
            raise TargetUnreachable(f"target {shown(name)}: {failure.strerror}") from failure
        return ours


def local_pair(name: str) -> tuple[socket.socket, socket.socket]:
    """
    Return two sockets that are connected to each other, for a channel to the target ``name`` in this process.

    :raise TargetUnreachable: there are too many open files.
    """
    try:
        return socket.socketpair()
    except OSError as failure:
        raise TargetUnreachable(f"target {shown(name)}: {failure.strerror}") from failure


@frozen
class PersonalTarget:
    """A target that is made for each caller."""

    make: Callable[[Caller], Target]


@frozen
class SessionTarget:
    """A target for one session's source; ``admits`` is asked with the caller's names and the session's secret."""

    target: Target
    admits: Callable[[frozenset[str], bytes | None], bool]


@define
class Targets:
    """The list of targets, which may change while channels are open."""

    _known: dict[str, Target | PersonalTarget | SessionTarget] = field(factory=dict)

    def add(self, name: str, target: Target | PersonalTarget | SessionTarget) -> None:
        """Let channels to ``name`` lead to ``target``."""
        self._known[name] = target

    def remove(self, name: str) -> None:
        """Allow no further channels to ``name``."""
        self._known.pop(name, None)

    def __contains__(self, name: object) -> bool:
        """Whether it is listed."""
        return name in self._known

    def has_session(self, name: str) -> bool:
        """Whether ``name`` leads to a session's target."""
        return isinstance(self._known.get(name), SessionTarget)

    def find(self, name: str, caller: Caller, session: bytes | None = None) -> Target:
        """
        Return the target of that name, for ``caller``, who may have a session's secret.

        :raise TargetUnknown: it is not listed, or is that of another session.
        :raise NotAllowed: it is not for this caller.
        """
        target = self._known.get(name)
        if target is None or (isinstance(target, SessionTarget) and not target.admits(caller.names, session)):
            raise TargetUnknown(f"the destination has no target {shown(name[:64])!r}")
        if isinstance(target, SessionTarget):
            return target.target
        if isinstance(target, PersonalTarget):
            return target.make(caller)
        if name not in BUILT_IN and not caller.rights.include(name):
            raise NotAllowed(f"{caller.peer}: no --allow at the destination admits {caller.name} to target {name}")
        return target
