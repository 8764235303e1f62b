"""The source's end of a tunnel: it opens channels to targets at the destination, and keeps them alive."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from nbdtun.amp import SECRET_SIZE
from nbdtun.deferreds import end_of
from nbdtun.errors import ChannelReset, LinkLost, TunnelError
from nbdtun.logs import make_logger
from nbdtun.tls.trust import Trusting
from nbdtun.tunnel.channels.carried import Carried, Hosts
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.channels.figures import lost_for
from nbdtun.tunnel.channels.heartbeat import BEATS
from nbdtun.tunnel.channels.ledger import Ledger
from nbdtun.tunnel.channels.splice import Farewell
from nbdtun.tunnel.channels.standing import StandingLinks
from nbdtun.tunnel.opening.commands import IDENT_SIZE
from nbdtun.tunnel.runtime.log_limits import RefusalLog
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.runtime.throttle import Limit
from nbdtun.tunnel.settings import LocalLimits
from nbdtun.tunnel.source.local_users import LocalUsers

#: Seconds of silence, while an answer is due, that are worth a word.
SILENCE = 3.0


class Dials(Protocol):
    """A :class:`~nbdtun.tunnel.source.dialer.Dialer`, or what becomes one later."""

    @property
    def runtime(self) -> Runtime:
        """What the channels share."""

    @property
    def tls(self) -> Trusting | None:
        """The links' TLS, if there is one before they are."""

    @property
    def confidential(self) -> bool:
        """Whether nobody but the destination can read what is sent."""

    async def open(self, channel: Channel, session: bytes = b"", *, met: bool = True) -> None:
        """Give ``channel`` its first link; ``session`` is the secret of the session whose target it is."""

    async def resume(self, channel: Channel) -> None:
        """Give ``channel`` its next link."""

    async def disown(self, ident: bytes, secret: bytes, reason: str) -> None:
        """Let the destination end a channel whose end here is gone."""

    async def greet(self) -> None:
        """Check that the destination admits us."""


class Source:
    """Opens channels through ``dialer`` and keeps them alive."""

    log = make_logger()

    def __init__(self, dialer: Dials, limits: LocalLimits | None = None) -> None:
        self.runtime = dialer.runtime
        self.users = LocalUsers(limits or LocalLimits())
        self.refusals = RefusalLog(self.log, self.runtime.call_later)
        self._dialer = dialer
        self.channels: set[Carried] = set()
        self.hosts: Hosts | None = None
        self._standing = StandingLinks(self.runtime, dialer.tls, self.channels)
        self.ledger = Ledger(self.channels)
        self._met = False
        self._telling: set[Deferred[None]] = set()
        self.given_up = False  #: a lost link did not come back in time, and no other has come since

    @property
    def tls(self) -> Trusting | None:
        """The links' TLS, if there is one before they are."""
        return self._dialer.tls

    async def open(
        self,
        target: str,
        sock: socket.socket,
        *,
        urgent: bool = False,
        farewell: Farewell | None = None,
        session: bytes = b"",
        limit: Limit | None = None,
        ident: bytes | None = None,
        secret: bytes | None = None,
        made: Callable[[Channel], object] = bool,
    ) -> Channel:
        """
        Open a channel between ``sock``, which it owns from now on, and ``target``. Under a bandwidth limit, an ``urgent`` one goes first.
        ``farewell`` is called before the program behind ``sock`` hears of an end that it has not asked for. ``limit`` is asked in the place
        of the throttle. ``made`` is told the channel, called ``ident`` and with its own ``secret``, before it is open.

        :raise TunnelError: it cannot be opened; ``sock`` is closed.
        """
        runtime = self.runtime
        ident, secret = ident or secrets.token_bytes(IDENT_SIZE), self.new_secret() if secret is None else secret
        window = runtime.terms.window
        told: dict[str, Any] = {"urgent": urgent, "farewell": farewell, "limit": limit}
        channel = Channel(runtime, ident, target, sock, window, self._redial, secret=secret, **told)
        self.channels.add(channel)
        self._standing.watch()
        channel.ended.addCallback(self._ended, channel)
        made(channel)
        opening = Deferred.fromCoroutine(self._dialer.open(channel, session, met=self._met))
        channel.ended.addCallback(_cancel, opening)
        try:
            await opening
        except BaseException as failure:
            if channel.error is not None:  # the channel ended meanwhile, which cancelled the dialling
                raise channel.error from failure
            channel.reset(failure if isinstance(failure, TunnelError) else ChannelReset("given up while it was being opened"))
            raise
        self.given_up, self._met = False, True
        return channel

    async def have(
        self,
        target: str,
        sock: socket.socket,
        *,
        urgent: bool,
        farewell: Farewell | None = None,
        session: bytes = b"",
        limit: Limit | None = None,
    ) -> Carried:
        """
        The same for a channel of another program's, which a worker may have.

        :raise TunnelError: it cannot be opened; ``sock`` is closed.
        """
        about: dict[str, Any] = {"urgent": urgent, "farewell": farewell, "session": session}
        hosts = None if limit is not None and limit.alone else self.hosts
        secret = self.new_secret()
        hosted = None if hosts is None else await hosts.open_channel(target, sock, secret=secret, **about)
        if hosted is None:
            return await self.open(target, sock, limit=limit, **about)
        channel, opening = hosted
        self.channels.add(channel)
        channel.ended.addCallback(self._ended, channel)
        channel.ended.addCallback(self._disown, channel, secret)
        try:
            await opening
        except CancelledError:
            channel.reset(ChannelReset("given up while it was being opened"))
            raise
        return channel

    async def greet(self) -> None:
        """
        Check that the destination can be reached and admits this source; opens no channel.

        :raise TunnelError: it cannot be reached, or refuses.
        """
        await self._dialer.greet()

    async def drain(self, seconds: float) -> None:
        """Wait at most so many seconds for the channels to end by themselves."""
        until = self.runtime.reactor.seconds() + seconds
        with contextlib.suppress(defer.TimeoutError):  # Twisted's own
            for channel in tuple(self.channels):
                await end_of(channel.ended).addTimeout(max(0.0, until - self.runtime.reactor.seconds()), self.runtime.reactor)

    async def stop(self) -> None:
        """End all channels; both ends' local sockets are closed."""
        channels = tuple(self.channels)
        for channel in channels:
            channel.reset(ChannelReset("the source was stopped"))
            channel.refused(ChannelReset("the source was stopped"))
        for telling in tuple(self._telling):
            telling.cancel()

    @property
    def silent_for(self) -> float | None:
        """Seconds for which the other end has sent nothing although it should have; None where that is normal, or a link is lost."""
        seconds = self.runtime.contact.silent_for
        waiting = any(isinstance(each, Channel) and each.outbound.sent > each.outbound.acked for each in self.channels)
        normal = SILENCE if waiting else SILENCE + self.runtime.terms.link_timeout / BEATS
        linked = bool(self.channels) and all(channel.figures.linked for channel in self.channels)
        return seconds if linked and seconds >= normal else None

    @property
    def lost_for(self) -> float | None:
        """Seconds since the oldest present outage began; None while all channels have links."""
        return lost_for((channel.figures for channel in self.channels), self.runtime.reactor.seconds())

    def new_secret(self) -> bytes:
        """A secret for a channel or a session; none where it would not stay one."""
        return secrets.token_bytes(SECRET_SIZE) if self._dialer.confidential else b""

    def _redial(self, channel: Channel) -> Deferred[None]:
        redialling = Deferred.fromCoroutine(self._dialer.resume(channel))
        redialling.addErrback(self._refused, channel)
        return redialling

    def _refused(self, failure: Failure, channel: Channel) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, TunnelError):  # a bug, after which nothing would dial again
            self.log.failure("a link could not be dialled", failure=failure)
            error = ChannelReset(f"internal error: {error!r}")
        channel.refused(error)

    def _disown(self, error: TunnelError | None, channel: Carried, secret: bytes) -> TunnelError | None:
        """If nobody could tell the destination that it has ended, do so."""
        if channel.orphaned:
            telling = Deferred.fromCoroutine(self._dialer.disown(channel.ident, secret, str(error)))
            self._telling.add(telling)
            telling.addErrback(lambda failure: failure.trap(TunnelError, CancelledError) and None)
            telling.addCallback(lambda _: self._telling.discard(telling))
        return error

    def _ended(self, error: TunnelError | None, channel: Carried) -> TunnelError | None:
        self.channels.discard(channel)
        self.ledger.close(channel, error)
        self.given_up = self.given_up or isinstance(error, LinkLost)
        return error


def _cancel(error: TunnelError | None, dialling: Deferred[None]) -> TunnelError | None:
    dialling.cancel()
    return error
