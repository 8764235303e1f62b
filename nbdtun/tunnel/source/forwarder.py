"""The factory of a source's socket: each connection to it becomes a channel to a target at the destination."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from nbdtun.deferreds import end_of
from nbdtun.errors import ChannelReset, TooManyChannels, TunnelError
from nbdtun.logs import make_logger
from nbdtun.tunnel.channels.carried import Carried
from nbdtun.tunnel.channels.splice import Farewell
from nbdtun.tunnel.opening.detach import Catch
from nbdtun.tunnel.runtime.throttle import Limit
from nbdtun.tunnel.settings import labels
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.wires.tuning import make_roomy
from nbdtun.units import size_text


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
        self._channels: set[Carried] = set()
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
        Wait until all that its local programs have sent, to the ends of their streams, is in the sockets of the others.

        :raise TunnelError: one of its channels failed.
        """
        while waited_for := next(iter((*self._opening, *self._undelivered)), None):
            await end_of(waited_for)
        if self.trouble is not None:
            raise self.trouble.again()

    @property
    def _undelivered(self) -> list[Deferred[None]]:
        return [channel.delivered for channel in self._channels if not channel.delivered.called]

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
        self._channels.add(channel)
        channel.ended.addCallback(self._ended, channel, user)
        if self._may_log():
            ktls = ", encrypted by the kernel" if channel.in_kernel else ""
            self.log.info("channel {channel} is open{ktls}", ktls=ktls, **labels(channel.target, channel.name))

    async def _in_turn(self, sock: socket.socket) -> Carried:
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

    async def _opened_now(self, sock: socket.socket) -> Carried:
        about: dict[str, Any] = {"urgent": self.urgent, "farewell": self._farewell, "session": self._session, "limit": self._limit}
        return await self._source.have(self.target, sock, **about)

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

    def _ended(self, error: TunnelError | None, channel: Carried, user: str) -> TunnelError | None:
        self._channels.discard(channel)
        self._source.users.leave(user)
        self.trouble = error or self.trouble
        if not self._may_log():
            return error
        if error is None:
            self.log.info(
                "channel {channel} is complete: {sent} sent, {received} received",
                **labels(channel.target, channel.name),
                sent=size_text(channel.figures.sent),
                received=size_text(channel.figures.received),
            )
        else:
            about = labels(channel.target, channel.name)
            self.log.error("channel {channel} failed: {reason}", reason=error.line, code=error.code, **about)
        return error

    def _may_log(self) -> bool:
        """Whether one more line may be written: local programs can connect without end."""
        return self._source.runtime.line_limit.allows()
