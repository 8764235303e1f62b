"""
The source's end of a tunnel: each connection to one of its sockets becomes a channel to a target at the destination.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from typing import Any, Protocol

from twisted.internet import defer, protocol
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from nbdtun.amp import SECRET_SIZE
from nbdtun.deferreds import end_of
from nbdtun.errors import ChannelReset, LinkLost, TooManyChannels, TunnelError
from nbdtun.logs import make_logger
from nbdtun.tls.trust import Trusting
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.channels.heartbeat import BEATS
from nbdtun.tunnel.channels.ledger import Ledger
from nbdtun.tunnel.channels.outage import lost_for
from nbdtun.tunnel.channels.splice import Farewell
from nbdtun.tunnel.channels.standing import StandingLinks
from nbdtun.tunnel.opening.commands import IDENT_SIZE
from nbdtun.tunnel.opening.detach import Catch
from nbdtun.tunnel.runtime.log_limits import RefusalLog
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.runtime.throttle import Limit
from nbdtun.tunnel.settings import LocalLimits, labels
from nbdtun.tunnel.source.local_users import LocalUsers
from nbdtun.tunnel.wires.tuning import make_roomy
from nbdtun.units import size_text

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
        self.channels: set[Channel] = set()
        self._standing = StandingLinks(self.runtime, dialer.tls, self.channels)
        self.ledger = Ledger(self.channels)
        self._met = False
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
    ) -> Channel:
        """
        Open a channel between ``sock``, which it owns from now on, and ``target``. Under a bandwidth limit, an ``urgent`` one goes first.
        ``farewell`` is called before the program behind ``sock`` hears of an end that it has not asked for. ``limit`` is asked in the place
        of the throttle.

        :raise TunnelError: it cannot be opened; ``sock`` is closed.
        """
        runtime = self.runtime
        ident, secret = secrets.token_bytes(IDENT_SIZE), self.new_secret()
        window = runtime.terms.window
        told: dict[str, Any] = {"urgent": urgent, "farewell": farewell, "limit": limit}
        channel = Channel(runtime, ident, target, sock, window, self._redial, secret=secret, **told)
        self.channels.add(channel)
        self._standing.watch()
        channel.ended.addCallback(self._ended, channel)
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

    @property
    def silent_for(self) -> float | None:
        """Seconds for which the other end has sent nothing although it should have; None where that is normal, or a link is lost."""
        seconds = self.runtime.contact.silent_for
        waiting = any(channel.outbound.sent > channel.outbound.acked for channel in self.channels)
        normal = SILENCE if waiting else SILENCE + self.runtime.terms.link_timeout / BEATS
        linked = bool(self.channels) and all(channel.link is not None for channel in self.channels)
        return seconds if linked and seconds >= normal else None

    @property
    def lost_for(self) -> float | None:
        """Seconds since the oldest present outage began; None while all channels have links."""
        return lost_for((channel.outage for channel in self.channels), self.runtime.reactor.seconds())

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

    def _ended(self, error: TunnelError | None, channel: Channel) -> TunnelError | None:
        self.channels.discard(channel)
        self.ledger.close(channel, error)
        self.given_up = self.given_up or isinstance(error, LinkLost)
        return error


class Forwarder(ServerFactory):
    """
    The factory of a listening endpoint: each connection becomes a channel to ``target``, ``urgent`` or not.

    Both may change, for the connections to come.

    ``farewell`` is called before a local program hears of an end that it has not asked for, and waited for. ``session`` is the secret of
    the session whose target it is. ``limit`` is asked in the place of the throttle.

    Of an urgent one the connections reach the target in the order in which they were made: QEMU before 8.0
    takes the first one for the main channel of a parallel migration.
    """

    log = make_logger()
    noisy = False

    def __init__(
        self,
        source: Source,
        target: str,
        *,
        urgent: bool = False,
        farewell: Farewell | None = None,
        session: bytes = b"",
        limit: Limit | None = None,
    ) -> None:
        self._source = source
        self._limit = limit
        self._session = session
        self._turns = DeferredLock()
        self.urgent = urgent
        self._farewell = farewell
        self.target = target
        self.trouble: TunnelError | None = None
        self._channels: dict[Channel, Deferred[TunnelError | None]] = {}
        self._opening: set[Deferred[Any]] = set()

    def buildProtocol(self, addr: object) -> protocol.Protocol:
        """Return the protocol that takes over the connection."""
        return Catch(lambda sock: self.arrived(make_roomy(sock)))

    def arrived(self, sock: socket.socket) -> None:
        """A local program has connected: open a channel, or close its connection at once and log why."""
        try:
            user = self._source.users.enter(sock)
        except TooManyChannels as refusal:
            sock.close()
            self._source.refusals.report(refusal.what.partition(":")[0], refusal)
            return
        opening = Deferred.fromCoroutine(self._open(sock, user))
        self._opening.add(opening)
        opening.addBoth(self._opened, opening)
        opening.addErrback(self._failed)

    @property
    def idle(self) -> bool:
        """Whether none of its channels is open or being opened."""
        return not self._opening and not self._channels

    async def drained(self) -> None:
        """
        Wait until all its channels have ended.

        :raise TunnelError: one of them failed.
        """
        while waited_for := next(iter((*self._opening, *self._channels.values())), None):
            await end_of(waited_for)
        if self.trouble is not None:
            raise self.trouble.again()

    def reset(self, reason: str) -> None:
        """End all its channels."""
        for opening in tuple(self._opening):
            opening.cancel()
        for channel in tuple(self._channels):
            channel.reset(ChannelReset(reason))

    async def _open(self, sock: socket.socket, user: str) -> None:
        try:
            channel = await self._in_turn(sock)
        except BaseException:
            self._source.users.leave(user)
            raise
        self._channels[channel] = channel.ended
        channel.ended.addCallback(self._ended, channel, user)
        if self._may_log():
            ktls = ", encrypted by the kernel" if channel.in_kernel else ""
            self.log.info("channel {channel} is open{ktls}", ktls=ktls, **labels(channel.target, channel.name))

    async def _in_turn(self, sock: socket.socket) -> Channel:
        """Open the channel; an urgent one after those before it."""
        if not self.urgent:
            return await self._opened_now(sock)
        try:
            await self._turns.acquire()
        except BaseException:
            sock.close()
            raise
        try:
            return await self._opened_now(sock)
        finally:
            self._turns.release()

    async def _opened_now(self, sock: socket.socket) -> Channel:
        about: dict[str, Any] = {"urgent": self.urgent, "farewell": self._farewell, "session": self._session, "limit": self._limit}
        return await self._source.open(self.target, sock, **about)

    def _opened(self, result: Any, opening: Deferred[Any]) -> Any:
        self._opening.discard(opening)
        return result

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            failure.trap(TunnelError)
            assert isinstance(failure.value, TunnelError)
            self.trouble = failure.value
            if self._may_log():
                self.log.error("{reason}", reason=failure.value.line, code=failure.value.code)

    def _ended(self, error: TunnelError | None, channel: Channel, user: str) -> TunnelError | None:
        del self._channels[channel]
        self._source.users.leave(user)
        self.trouble = error or self.trouble
        if not self._may_log():
            return error
        if error is None:
            self.log.info(
                "channel {channel} is complete: {sent} sent, {received} received",
                **labels(channel.target, channel.name),
                sent=size_text(channel.outbound.end),
                received=size_text(channel.inbound.written - 1),
            )
        else:
            about = labels(channel.target, channel.name)
            self.log.error("channel {channel} failed: {reason}", reason=error.line, code=error.code, **about)
        return error

    def _may_log(self) -> bool:
        """Whether one more line may be written: local programs can connect without end."""
        return self._source.runtime.line_limit.allows()


def _cancel(error: TunnelError | None, dialling: Deferred[None]) -> TunnelError | None:
    dialling.cancel()
    return error
