"""
The ledger of one end: what its channels have carried, and what lost links have cost, those that have ended included.

The targets of a session, such as ``nbd.`` and its id, are counted under one name: a ledger does not grow with the number of migrations.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import astuple, define, evolve

from nbdtun.errors import TunnelError
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.settings import kind_of


@define
class Account:
    """
    The channels to targets of one kind: how many are ``open``, how many have ended, and how many of those ``failed``.

    ``sent`` counts bytes that the other end has, ``received`` those that have arrived here. ``resumes`` counts links that were replaced,
    ``replayed`` bytes that were sent again.
    """

    open: int = 0
    ended: int = 0
    failed: int = 0
    sent: int = 0
    received: int = 0
    resumes: int = 0
    replayed: int = 0

    def add(self, channel: Channel) -> None:
        """Count what ``channel`` has carried so far."""
        self.sent += sent(channel)
        self.received += received(channel)
        self.resumes += channel.resumes
        self.replayed += channel.replayed


class Ledger:
    """Of the end that has these ``channels`` now."""

    def __init__(self, channels: Collection[Channel]) -> None:
        self._channels = channels
        self._closed: dict[str, Account] = {}

    def __repr__(self) -> str:
        return f"<Ledger of {', '.join(self.accounts) or 'nothing'}>"

    def close(self, channel: Channel, error: TunnelError | None) -> None:
        """``channel`` has ended, and is not among the channels any more."""
        account = self._closed.setdefault(kind_of(channel.target), Account())
        account.ended += 1
        account.failed += error is not None
        account.add(channel)

    @property
    def accounts(self) -> dict[str, Account]:
        """What there is by now, by the kind of target."""
        found = {kind: evolve(account) for kind, account in self._closed.items()}
        for channel in self._channels:
            account = found.setdefault(kind_of(channel.target), Account())
            account.open += 1
            account.add(channel)
        return found

    @property
    def whole(self) -> Account:
        """All kinds together."""
        return Account(*map(sum, zip(*map(astuple, self.accounts.values()), strict=True)))


def sent(channel: Channel) -> int:
    """The bytes that the other end has received over ``channel``."""
    return _bytes(channel.outbound.acked, channel.outbound.final)


def received(channel: Channel) -> int:
    """The bytes that have arrived over ``channel``."""
    return _bytes(channel.inbound.received, channel.inbound.final)


def _bytes(offset: int, final: int | None) -> int:
    """An offset of a stream in bytes; its end counts as one more for the protocol."""
    return offset if final is None else min(offset, final)
