"""
A channel of a worker's, as the main process sees it: it has the accounts, the worker has the bytes.

The main process examines and answers a link's connection, then passes it on. It counts the worker's figures as its own.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from typing import Any, Final, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol as TwistedProtocol

from nbdtun.deferreds import end_of
from nbdtun.errors import AlreadyComplete, LinkLost, NbdtunError, NoAnswer, ResumeRefused, TunnelError
from nbdtun.service.workers.commands import Act, Resume
from nbdtun.tls.presented import Presented
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.channels.carried import Welcome
from nbdtun.tunnel.channels.figures import Figures
from nbdtun.tunnel.channels.splice import Farewell
from nbdtun.tunnel.opening.transport import OpeningTransport
from nbdtun.tunnel.runtime.contact import Contact
from nbdtun.tunnel.settings import shown

#: Seconds for an answer. Both processes are of one host, but either may be busy.
ANSWER_SECONDS: Final = 10.0


class Host(Protocol):
    """The worker that has it."""

    async def ask(self, command: Any, *, seconds: float | None, **arguments: Any) -> Mapping[str, Any]:
        """Ask it (:exc:`NbdtunError`)."""

    def notify(self, command: Any, **arguments: Any) -> None:
        """Tell it."""

    def attach(self, ident: bytes, turn: int, sock: socket.socket, state: LinkState | None) -> None:
        """Pass a link on, whose socket is closed here afterwards."""


class Hosted:
    """
    The channel ``ident`` to ``target``, of ``host``; a :class:`~nbdtun.tunnel.channels.carried.Carried`.

    ``kept`` is the socket of a source's local program. That hears of an end last: even if the worker is killed, who waits here knows why.
    """

    in_kernel = False
    orphaned = False
    kept: socket.socket | None = None
    farewell: Farewell | None = None

    def __init__(self, host: Host, ident: bytes, target: str, contact: Contact) -> None:
        self.ident, self.target = ident, target
        self.ended: Deferred[TunnelError | None] = Deferred()
        self.delivered: Deferred[None] = Deferred()
        self.error: TunnelError | None = None
        self.figures = Figures()
        self.presented: Presented | None = None
        self._host = host
        self._contact = contact
        self._missing = False

    def __repr__(self) -> str:
        return f"<Hosted {self.name} by {self._host!r}>"

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{shown(self.target)} {self.ident.hex()[:8]}"

    async def welcome(self, received: int) -> Welcome:
        """See :meth:`~nbdtun.tunnel.channels.carried.Carried.welcome`."""
        try:
            answer = await self._host.ask(Resume, seconds=ANSWER_SECONDS, channel=self.ident, received=received)
        except NbdtunError as error:
            if not self.ended.called and isinstance(error, NoAnswer):
                raise LinkLost(str(error)) from error  # with this code, every source dials again
            if not self.ended.called:
                raise
            if self.error is None:
                raise AlreadyComplete(f"channel {self.name} has ended") from error
            raise (ResumeRefused(str(self.error)) if isinstance(self.error, LinkLost) else self.error.again()) from error
        return Welcome(_Handover(self, answer["turn"]), answer["received"], answer["window"])

    def pass_on(self, transport: OpeningTransport, turn: int) -> None:
        """The connection is a link from now on: the worker gets it."""
        wire, rest = transport.release()
        presented = wire.presented
        try:
            if wire.closed or rest is not None:
                raise LinkLost("it broke off while it was answered")
            sock, state = wire.move()
        except TunnelError as broken:
            wire.close()
            self.abandoned(broken)
            return
        self.presented = presented
        self._host.attach(self.ident, turn, sock, state)

    # What the worker tells.

    def hear(self, figures: Figures) -> None:
        """It has come so far."""
        before, self.figures = self.figures, figures
        if figures.received > before.received:
            self._contact.heard()
        for _ in range(figures.resumes - before.resumes):
            self._miss(True)
            self._miss(False)
        self._miss(figures.since is not None)

    def _miss(self, missing: bool) -> None:
        """Whether it has lost its link."""
        if missing != self._missing:
            self._missing = missing
            self._contact.lost() if missing else self._contact.back()

    def over(self, error: TunnelError | None, figures: Figures | None = None) -> None:
        """It has ended."""
        if self.ended.called:
            return
        self.hear(evolve(figures or self.figures, linked=False, since=None))
        self.error = error
        self.presented = None
        self.ended.callback(error)
        self.arrived()
        if self.kept is not None:
            self.kept.close()

    def arrived(self) -> None:
        """All that the local program has sent was delivered, or never will be."""
        if not self.delivered.called:
            self.delivered.callback(None)

    def part(self) -> Deferred[Any]:
        """Let the farewell be said; fires when that is done."""
        return succeed(None) if self.farewell is None else self.farewell()

    def bereave(self, error: TunnelError) -> None:
        """Its worker has ended, and with it the channel."""
        kept, self.kept = self.kept, None
        self.orphaned = not self.ended.called
        self.over(error)
        if kept is not None:
            parting = succeed(None) if _has_ended(kept) else self.part()
            end_of(parting).addCallback(lambda _: kept.close())

    # What it is told.

    def abandoned(self, reason: Exception) -> None:
        """See :class:`~nbdtun.tunnel.channels.carried.Carried`; so for those below."""
        self._act("abandoned", reason)

    def cut(self, reason: Exception) -> None:
        self._act("cut", reason)

    def reset(self, error: TunnelError) -> None:
        self._act("reset", error)

    def refused(self, error: TunnelError) -> None:
        self._act("refused", error)

    def leave(self, reason: str) -> None:
        self._act("leave", TunnelError(reason))

    def _act(self, what: str, reason: Exception) -> None:
        code = reason.code if isinstance(reason, TunnelError) else LinkLost.code
        self._host.notify(Act, channel=self.ident, what=what, code=code, reason=str(reason))


def _has_ended(sock: socket.socket) -> bool:
    """Whether the program at the other end of ``sock`` has ended its stream."""
    watched = select.poll()
    watched.register(sock, select.POLLRDHUP)
    return bool(watched.poll(0))


class _Handover(TwistedProtocol):
    """What AMP switches to: it passes the connection on at once."""

    def __init__(self, channel: Hosted, turn: int) -> None:
        self._channel = channel
        self._turn = turn

    def makeConnection(self, transport: Any) -> None:
        """The answer is written."""
        assert isinstance(transport, OpeningTransport)
        self._channel.pass_on(transport, self._turn)
