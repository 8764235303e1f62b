"""
Elsewhere: another process of this host has channels of the same port, and gets the connections that ask for them.

A daemon that was replaced by a new program keeps its channels and sessions until they end; its port is the new one's, and so is all that is
new. The new one examines each connection and reads its question. Only then is it known whose it is. So the connection is passed on with
the state of its records, and the question is answered where the channel is. Nothing that was not admitted is ever passed on.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import DeferredLock

from nbdtun.errors import LinkLost
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.destination.admission import Caller


@frozen
class Share:
    """
    What a process has of what is asked for: the ``channel`` itself, or the session whose ``target`` it is. And how many ``channels`` it
    has, in all and of the one that asks.
    """

    channel: bool = False
    target: bool = False
    channels: int = 0
    owned: int = 0

    @property
    def has(self) -> bool:
        """Whether the question is for it."""
        return self.channel or self.target

    def and_of(self, other: Share) -> Share:
        """What both have together."""
        channels, owned = self.channels + other.channels, self.owned + other.owned
        return Share(self.channel or other.channel, self.target or other.target, channels, owned)


@frozen
class Passed:
    """A connection that was examined, its ``caller``, and its question, as the ``box`` that it came in."""

    sock: socket.socket
    state: LinkState | None
    caller: Caller
    box: bytes = field(repr=False)


class Other(Protocol):
    """The other process."""

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        """
        What it has of a question about the channel ``ident``, and of a new one to ``target``, from ``owner``.

        :raise LinkLost: it does not answer.
        """

    async def take(self, passed: Passed) -> None:
        """
        Let it go on with a connection, whose socket is closed here afterwards.

        :raise LinkLost: it does not answer.
        """


class Elsewhere:
    """
    The ``other`` process, while there is one. ``share`` is what it had when it was asked last; of the channels of each source, when it was
    asked last about that one.
    """

    def __init__(self) -> None:
        self.other: Other | None = None
        self.share = Share()
        self._owned: dict[str, int] = {}  # by the sources that have some
        self._turns = DeferredLock()

    def __repr__(self) -> str:
        return f"<Elsewhere {self.share if self.other else 'nothing'}>"

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        """What there is; nothing without another process."""
        return Share() if self.other is None else await self.other.look(ident, target, owner)

    async def passes_on(
        self, ident: bytes, target: str, owner: str, *, ours: bool, room: Callable[[], object], leave: Callable[[], Passed]
    ) -> bool:
        """
        Whether the question is for the other process, which has got the connection then. ``leave`` parts with it.

        ``room`` checks the limits for a new channel there. One question at a time: so the limits hold for both together. If the other
        process hangs, channels to targets of ``ours`` are opened all the same; it counts for what it had when it was asked last.

        :raise TunnelError: a limit is reached, or the connection cannot be passed on.
        """
        if self.other is None:
            self.share = Share()
            self._owned.clear()
            return False
        async with self._turns:
            try:
                self.share = share = await self.look(ident, target, owner)
                self._remember(owner, share.owned)
            except LinkLost:
                if not ours:
                    raise
                self.share = evolve(self.share, owned=self._owned.get(owner, 0))
                return False
            if not share.has or self.other is None:
                return False
            if not share.channel:
                room()
            await self.other.take(leave())
        return True

    def _remember(self, owner: str, owned: int) -> None:
        self._owned.pop(owner, None)
        if owned:
            self._owned[owner] = owned
