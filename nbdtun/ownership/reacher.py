"""The endpoint that connects to sockets that others listen on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection

from attrs import frozen
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import deferLater
from zope.interface import implementer

from nbdtun.ownership.reach import reach
from nbdtun.process import Reactor, adopt, quiet_factory

#: Seconds to wait for room in a server's queue, and between two attempts (QEMU's queues are short).
QUEUE_SECONDS, QUEUE_INTERVAL = 10.0, 0.02


@implementer(IStreamClientEndpoint)
@frozen
class Reacher:
    """Connects to a UNIX socket as :func:`~nbdtun.ownership.reach.reach` does, and waits a while for room in its queue."""

    reactor: Reactor
    path: str
    allowed: Collection[int] | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the Deferred fails with :exc:`OSError` if the connection does."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        sock = await self._reach()
        with sock:
            protocol = factory.buildProtocol(UNIXAddress(os.fsencode(self.path)))
            if protocol is None:
                raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
            adopt(self.reactor, sock, quiet_factory(lambda: protocol))
        return protocol

    async def _reach(self) -> socket.socket:
        end = self.reactor.seconds() + QUEUE_SECONDS
        while True:
            try:
                return reach(self.path, self.allowed)
            except BlockingIOError:
                if self.reactor.seconds() > end:
                    raise
            await deferLater(self.reactor, QUEUE_INTERVAL)
