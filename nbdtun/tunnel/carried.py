"""What a link knows of its channel; ``channel`` is what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nbdtun.errors import TunnelError
from nbdtun.tunnel.inbound import Inbound
from nbdtun.tunnel.outbound import Outbound

if TYPE_CHECKING:
    from nbdtun.tunnel.link import Link


class Carried(Protocol):
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
        """Bytes came, and were accepted; ``pieces`` stay as they are until this returns."""

    @property
    def pourable(self) -> bool:
        """Whether :meth:`pour` can be used now."""

    def pour(self, source: int, count: int) -> int | None:
        """
        At most ``count`` bytes, which are expected, can go from the descriptor ``source`` to the local socket; returns how many did, 0 at
        the end, None when nothing is there now.
        """

    def end_received(self, offset: int) -> None:
        """The other end's FIN came."""

    def acknowledged(self) -> None:
        """The other end has more of what was sent."""

    def link_attached(self, link: Link) -> None:
        """The connection has become a link of this channel."""

    def link_lost(self, link: Link, reason: Exception) -> None:
        """The link is gone."""

    def reset_received(self, code: str, reason: str) -> None:
        """The other end has given the channel up."""

    def bye_received(self) -> None:
        """The destination is done."""

    def reset(self, error: TunnelError) -> None:
        """This end gives the channel up, and tells the other."""
