"""
What the migration asks of a tunnel, and all that it knows of it.

``nbdtun.service`` gives it the real one; a test may give it any other that keeps these promises.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from twisted.protocols.amp import AMP

from nbdtun.migration.progress import LinkState

P = TypeVar("P", bound=AMP)


class Ingress(Protocol):
    """A UNIX socket at the source; each connection to it becomes a channel to one target at the destination."""

    @property
    def path(self) -> str:
        """Where QEMU has to connect to."""

    @property
    def trouble(self) -> Exception | None:
        """Why the latest channel through it failed: the far side's own reason, which QEMU never learns."""

    async def drained(self) -> None:
        """
        Wait until every channel opened through it has ended and all its bytes are at the target.

        :raise TunnelError: a channel failed, or the bytes did not arrive in time.
        """

    async def close(self) -> None:
        """Remove the socket, and reset the channels that are left."""


def with_trouble(reason: str, ingress: Ingress | None) -> str:
    """What QEMU says, and what it cannot know."""
    trouble = ingress and ingress.trouble
    return f"{reason}; in the tunnel: {trouble}" if trouble else reason


class Carrier(Protocol):
    """The source's view of the tunnel."""

    async def control(self, protocol: P) -> P:
        """
        Open a control channel, connect ``protocol``, which also answers the destination's commands, to it, and return it.

        The protocol's ``connectionLost`` is called when the channel has ended for good, not when a link has.

        :raise TunnelError: the destination cannot be reached.
        """

    async def enter(self, target: str, name: str, *, urgent: bool = False) -> Ingress:
        """Make the socket ``name`` in a directory that QEMU can use; what connects to it reaches ``target``, the ``urgent`` first."""

    async def throughput(self) -> float:
        """
        Measure, for some seconds, how many bytes per second it carries to the destination.

        :raise TunnelError: that cannot be measured.
        """

    @property
    def link(self) -> LinkState:
        """How the tunnel is doing."""


class Egress(Protocol):
    """The destination's view of the tunnel: where channels of one session come out."""

    @property
    def directory(self) -> str:
        """A directory of this session's own, in which the destination QEMU can make sockets."""

    def admit(self, target: str, path: str) -> None:
        """Let channels to ``target`` connect to the UNIX socket ``path``, from now on."""

    async def dismiss(self) -> None:
        """Admit nothing more, reset the channels that are left."""

    async def close(self) -> None:
        """Dismiss, and remove the directory."""
