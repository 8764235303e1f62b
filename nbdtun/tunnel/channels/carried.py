"""
A channel as the process that is asked for it sees it, whichever process of this end has it; and its welcome to a new link.

Where an end has workers, these have its channels: see :mod:`nbdtun.service.workers`.
"""

from __future__ import annotations

import socket
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from nbdtun.errors import TunnelError
from nbdtun.tls.presented import Presented
from nbdtun.tunnel.channels.figures import Figures
from nbdtun.tunnel.channels.splice import Farewell


@frozen
class Welcome:
    """A ``link`` that the connection can become; this end has ``received`` so many bytes, and keeps a ``window`` for each direction."""

    link: IProtocol
    received: int
    window: int


class Carried(Protocol):
    """
    A :class:`~nbdtun.tunnel.channels.channel.Channel`, here or in a worker. ``ended`` fires once, with None or the error.

    It is ``orphaned`` if the process that had it was killed, and nobody has told the other end that it has ended.

    ``delivered`` fires once: when all that the local program has sent, with its end, is in the other one's socket; else after ``ended``.
    """

    ident: bytes
    target: str
    ended: Deferred[TunnelError | None]
    delivered: Deferred[None]
    error: TunnelError | None
    orphaned: bool

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def figures(self) -> Figures:
        """What it has done so far."""

    @property
    def presented(self) -> Presented | None:
        """What the peer of its link has presented; None without TLS, or without a link."""

    @property
    def in_kernel(self) -> bool:
        """Whether its link is encrypted by the kernel."""

    async def welcome(self, received: int) -> Welcome:
        """
        A new link is about to come, and the other end has ``received`` bytes: it replaces any present link.

        :raise ProtocolViolation: the other end cannot have so many.
        :raise TunnelError: the other end had more before, and the present link stays; or it has ended meanwhile.
        """

    def abandoned(self, reason: Exception) -> None:
        """The connection that asked for it was lost before it became a link."""

    def cut(self, reason: Exception) -> None:
        """End its link, if it has one; it waits for another."""

    def reset(self, error: TunnelError) -> None:
        """Give it up, and send the reason to the other end."""

    def refused(self, error: TunnelError) -> None:
        """The other end does not resume it, or is not to be asked any more."""

    def leave(self, reason: str) -> None:
        """End it here only."""


class Hosts(Protocol):
    """The workers of an end. Both methods own ``sock``, and return None where the channel is to be had by this process."""

    async def make(self, ident: bytes, target: str, sock: socket.socket, window: int, *, urgent: bool) -> Carried | None:
        """Let one have a new channel of a destination."""

    async def open_channel(
        self, target: str, sock: socket.socket, *, urgent: bool, secret: bytes, session: bytes, farewell: Farewell | None
    ) -> tuple[Carried, Deferred[object]] | None:
        """
        Let one open a channel of a source, as :meth:`~nbdtun.tunnel.source.client.Source.open` does.

        The Deferred fires when it is open; cancelling it gives up. It fails with the :exc:`TunnelError` for which it cannot be opened.
        """
