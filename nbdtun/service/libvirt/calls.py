"""
libvirt's own connections through the tunnel, at the source: each is a channel, behind a proxy that knows its messages.

The proxy answers the keepalive of the libvirtd here while the link is away, so that libvirt waits as long as the tunnel does. In a handover
another process holds the connection, too.
"""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory

from nbdtun.deferreds import end_of
from nbdtun.errors import OutcomeUnknown, TunnelError
from nbdtun.libvirt.near.handover import SourceProxy
from nbdtun.libvirt.near.way import Handover
from nbdtun.libvirt.rpc.messages import Message
from nbdtun.logs import make_logger
from nbdtun.process import Reactor
from nbdtun.service.libvirt.standby import Standby
from nbdtun.tunnel.destination.targets import local_pair
from nbdtun.tunnel.opening.detach import Catch
from nbdtun.tunnel.source.client import Source


class Calls(ServerFactory):
    """
    The factory of the socket for libvirtd: each connection becomes a channel to ``target``, with the secret of its session.

    ``handover`` is asked if the channel is lost in a handover, before libvirt hears of it. ``standby`` holds the connection meanwhile.
    """

    log = make_logger()
    noisy = False

    def __init__(
        self, reactor: Reactor, source: Source, target: str, secret: bytes, handover: Handover, standby: Standby | None = None
    ) -> None:
        self._handover = handover
        self._standby = standby
        self.trouble: TunnelError | None = None
        self._reactor = reactor
        self._source = source
        self._target = target
        self._secret = secret
        self._proxies: set[SourceProxy] = set()

    def __repr__(self) -> str:
        return f"<Calls to {self._target}, {len(self._proxies)} open>"

    def buildProtocol(self, addr: object) -> Protocol:
        """Return the protocol that takes over the connection."""
        return Catch(self.arrived)

    def arrived(self, sock: socket.socket) -> None:
        """libvirtd has connected."""
        Deferred.fromCoroutine(self._open(sock)).addErrback(lambda failure: self.log.failure("libvirt's connection", failure=failure))

    async def _open(self, sock: socket.socket) -> None:
        ours, theirs = local_pair(self._target)
        proxy = SourceProxy(self._reactor, sock, ours, away=lambda: self._source.lost_for is not None, begins=self._begin)
        self._proxies.add(proxy)
        proxy.closed.addCallback(lambda _: self._proxies.discard(proxy))
        try:
            channel = await self._source.open(self._target, theirs, urgent=True, session=self._secret, farewell=lambda: self._part(proxy))
            channel.ended.addCallback(self._ended)
        except TunnelError as error:
            self.trouble = error
            self.log.error("libvirt's connection cannot be opened: {reason}", reason=error.line, code=error.code)
            proxy.close()

    def _ended(self, error: TunnelError | None) -> TunnelError | None:
        self.trouble = error or self.trouble
        return error

    def _begin(self, finish: Message, descriptor: int) -> None:
        """libvirt is about to tell the destination to let the guest run."""
        self._handover.begins()
        if self._standby is not None:
            self._standby.hold(finish, descriptor)

    def _part(self, proxy: SourceProxy) -> Deferred[None]:
        """The channel has ended, and libvirt did not ask for it."""

        async def part() -> None:
            if not proxy.hands_over:
                return
            proxy.parted = True
            try:
                domain = await self._handover.lost()
            except OutcomeUnknown:
                proxy.close()  # of which libvirt does not hear, as the standby holds its connection
            else:
                if domain is not None:
                    proxy.conclude(*domain)

        return Deferred.fromCoroutine(part()).addErrback(lambda failure: self.log.failure("a handover was lost", failure=failure))

    async def drained(self) -> None:
        """Wait until all have ended."""
        for proxy in tuple(self._proxies):
            await end_of(proxy.closed)

    def reset(self, reason: str) -> None:
        """End all."""
        for proxy in tuple(self._proxies):
            proxy.close()
