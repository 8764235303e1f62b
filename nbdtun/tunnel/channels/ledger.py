"""
The ledger of one end: what its channels have carried, and what lost links have cost, those that have ended included.

The targets of a session, such as ``nbd.`` and its id, are counted under one name: a ledger does not grow with the number of migrations.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import astuple, define, evolve

from nbdtun.errors import TunnelError
from nbdtun.tunnel.channels.carried import Carried
from nbdtun.tunnel.channels.figures import Figures
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

    def add(self, figures: Figures) -> None:
        """Count what a channel has carried so far."""
        self.sent += figures.sent
        self.received += figures.received
        self.resumes += figures.resumes
        self.replayed += figures.replayed


class Ledger:
    """Of the end that has these ``channels`` now."""

    def __init__(self, channels: Collection[Carried]) -> None:
        self._channels = channels
        self._closed: dict[str, Account] = {}

    def __repr__(self) -> str:
        return f"<Ledger of {', '.join(self.accounts) or 'nothing'}>"

    def close(self, channel: Carried, error: TunnelError | None) -> None:
        """``channel`` has ended, and is not among the channels any more."""
        account = self._closed.setdefault(kind_of(channel.target), Account())
        account.ended += 1
        account.failed += error is not None
        account.add(channel.figures)

    @property
    def accounts(self) -> dict[str, Account]:
        """What there is by now, by the kind of target."""
        found = {kind: evolve(account) for kind, account in self._closed.items()}
        for channel in self._channels:
            account = found.setdefault(kind_of(channel.target), Account())
            account.open += 1
            account.add(channel.figures)
        return found

    @property
    def whole(self) -> Account:
        """All kinds together."""
        return Account(*map(sum, zip(*map(astuple, self.accounts.values()), strict=True)))
