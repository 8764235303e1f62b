"""The user of links: a channel, as its links see it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from nbdtun.errors import TunnelError
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.outbound import Outbound

L = TypeVar("L", contravariant=True)


class LinkUser(Protocol[L]):
    """The channel, as its links see it."""

    inbound: Inbound
    outbound: Outbound

    @property
    def dials(self) -> bool:
        """Whether this end gets the next link when this one is lost."""

    @property
    def carried(self) -> int:
        """Bytes that have arrived, both ways."""

    def deliver(self, pieces: list[memoryview]) -> None:
        """Bytes arrived and were accepted; ``pieces`` are valid until this returns."""

    @property
    def pourable(self) -> bool:
        """Whether :meth:`pour` can be used now."""

    def pour(self, source: int, count: int) -> int | None:
        """Move at most ``count`` expected bytes from ``source`` to the local socket; the count, 0 at the end, None when there are none."""

    def end_received(self, offset: int) -> None:
        """The other end's FIN arrived."""

    def acknowledged(self) -> None:
        """The other end has acknowledged more bytes."""

    def renew(self) -> None:
        """The link's keys have encrypted enough."""

    def link_attached(self, link: L) -> None:
        """The connection has become a link of this channel."""

    def link_lost(self, link: L, reason: Exception) -> None:
        """The link is gone."""

    def reset_received(self, code: str, reason: str) -> None:
        """The other end has given up the channel."""

    def bye_received(self) -> None:
        """The destination is done."""

    def reset(self, error: TunnelError) -> None:
        """Give up the channel, and send the reason to the other end."""
