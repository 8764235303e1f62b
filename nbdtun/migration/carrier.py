"""
The migration's port to the tunnel: all that it asks of a tunnel, and all that it knows about one.

``nbdtun.service`` provides the real one; a test may provide any other that keeps these promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.protocols.amp import AMP

from nbdtun.migration.bond import Bond
from nbdtun.migration.progress import LinkState

P = TypeVar("P", bound=AMP)


#: Called before QEMU hears that one of its connections has ended at the far side; QEMU's connection stays until the Deferred fires.
Farewell = Callable[[], "Deferred[Any]"]


@frozen
class Speed:
    """
    What one channel carries: ``rate`` in bytes per second. ``held`` is the end whose TCP buffer holds it back, "source" or "destination";
    empty for none.
    """

    rate: float
    held: str = ""


class Ingress(Protocol):
    """A UNIX socket at the source; each connection to it becomes a channel to one target at the destination."""

    @property
    def path(self) -> str:
        """The path that QEMU connects to."""

    @property
    def trouble(self) -> Exception | None:
        """Why the latest channel through it failed: the far side's own reason, which QEMU never receives."""

    @property
    def allowance(self) -> int | None:
        """How many bytes may still be read from QEMU; None for any number."""

    def allow(self, count: int | None) -> None:
        """From now on, read ``count`` bytes from QEMU through all its connections together, and no more; None for any number."""

    async def drained(self) -> None:
        """
        Wait until all that QEMU has sent through it, to the end of its stream, is in the target's socket.

        QEMU at the target need not have read it yet.

        :raise TunnelError: a channel failed, or the bytes did not arrive in time.
        """

    async def close(self) -> None:
        """Remove the socket, and reset its remaining channels."""


def with_trouble(reason: str, ingress: Ingress | None) -> str:
    """QEMU's ``reason``, with the tunnel's own, which QEMU cannot know."""
    trouble = ingress and ingress.trouble
    return f"{reason}; in the tunnel: {trouble}" if trouble else reason


class Carrier(Protocol):
    """The source's view of the tunnel."""

    async def control(self, protocol: P) -> P:
        """
        Open a control channel and connect ``protocol`` to it; returns ``protocol``, which also answers the destination's commands.

        The protocol's ``connectionLost`` is called when the channel has ended for good, not when a link has.

        :raise TunnelError: the destination cannot be reached.
        """

    def new_secret(self) -> bytes:
        """A secret for a new session; empty if the tunnel would not keep it one."""

    async def enter(
        self, target: str, name: str, *, urgent: bool = False, farewell: Farewell | None = None, secret: bytes = b""
    ) -> Ingress:
        """
        Make the socket ``name`` in a directory that QEMU can use. Its connections reach ``target``; ``urgent`` ones go first.
        ``secret`` is that of the session whose target it is.

        ``farewell`` is called, and waited for, before QEMU hears of an end that it has not asked for.
        """

    async def throughput(self) -> Speed:
        """
        Measure for a few seconds what it carries to the destination.

        :raise TunnelError: it cannot be measured.
        """

    @property
    def link(self) -> LinkState:
        """The state of the tunnel's links."""


class Egress(Protocol):
    """The destination's view of the tunnel: where the channels of one session come out."""

    @property
    def directory(self) -> str:
        """This session's own directory, in which the destination QEMU can make sockets."""

    def tie(self, bond: Bond) -> None:
        """Admit only the source that the session is bound to."""

    def admit(self, target: str, path: str) -> None:
        """From now on, let channels to ``target`` connect to the UNIX socket ``path``."""

    async def dismiss(self) -> None:
        """Admit no more channels, and reset the remaining ones."""

    async def close(self) -> None:
        """Dismiss, and remove the directory."""
