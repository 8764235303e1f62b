"""Endpoints to listen on, named as the operator names them: a failure is one line, whatever the kind of endpoint."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final

from attrs import frozen
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from nbdtun.errors import ConfigError
from nbdtun.ownership.directories import make_directories

_REMEDIES: Final = {
    errno.EADDRINUSE: "`ss -ltnp` shows the process that listens there",
    errno.EADDRNOTAVAIL: "`ip addr` shows this host's addresses",
    errno.ENOENT: "make its directory first",
}


@implementer(IStreamServerEndpoint)
@frozen
class BothFamilies:
    """
    Listens on ``port`` of all addresses, of IPv6 and IPv4, with one socket; of IPv4 alone where the system has no IPv6.

    Twisted's ``tcp:PORT`` is of IPv4, its ``tcp6:PORT`` of both only where ``net.ipv6.bindv6only`` is 0.
    """

    reactor: Any
    port: int
    backlog: int

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; the Deferred fails with :exc:`OSError` if that is not possible."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        try:
            sock = self._bound(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
        except OSError as failure:
            if failure.errno != errno.EADDRNOTAVAIL:  # IPv6 is there, and has no address
                raise OSError(failure.errno, os.strerror(failure.errno or 0)) from failure  # its text names a tuple
            sock = self._bound(socket.AF_INET)
        with sock:  # the reactor takes a descriptor of its own
            sock.setblocking(False)
            port: IListeningPort = self.reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
        return port

    def _bound(self, family: socket.AddressFamily) -> socket.socket:
        return socket.create_server(("", self.port), family=family, backlog=self.backlog, dualstack_ipv6=family == socket.AF_INET6)


@implementer(IStreamServerEndpoint)
@frozen
class LocalEndpoint:
    """Wraps ``endpoint``; ``label`` is how messages name it. ``folder`` is a directory of nbdtun's own that is made first."""

    endpoint: Any
    label: str
    folder: str = ""

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        try:
            if self.folder:
                make_directories(self.folder)
            port: IListeningPort = await self.endpoint.listen(factory)
        except (CannotListenError, OSError) as failure:
            reason = getattr(failure, "socketError", failure)
            remedy = _REMEDIES.get(getattr(reason, "errno", None) or 0, "")
            raise ConfigError(f"{self.label}: {getattr(reason, 'strerror', None) or reason}", remedy) from failure
        return port

    def listen(self, protocolFactory: IProtocolFactory) -> Any:
        """Listen; the Deferred fails with :exc:`ConfigError` if that is not possible."""
        return Deferred.fromCoroutine(self._listen(protocolFactory))


class ListeningService(StreamServerEndpointService):
    """
    Twisted's, with two changes. It must not start if it cannot listen, as in strports.service(). It can be stopped without having been
    started, as happens when another service beside it cannot start.
    """

    _raiseSynchronously = True
    _alone: tuple[bool, bool | None] | None = None  # of the port, while another process has its socket, too

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        port: int = self._port.getHost().port
        return port

    @property
    def listens(self) -> bool:
        """Whether it does."""
        return bool(self.running) and self._waitingForPort is not None

    @property
    def label(self) -> str:
        """How messages name its endpoint."""
        return str(self.endpoint.label)

    @property
    def descriptor(self) -> int:
        """That of its listening socket, for another process."""
        number: int = self._port.fileno()
        return number

    @property
    def _port(self) -> Any:
        waiting: Any = self._waitingForPort
        return waiting.result

    def hold(self) -> None:
        """Accept nothing: another process does it, or will. What is closed here leaves its socket alone."""
        port = self._port
        port.stopReading()
        self._alone = self._alone or (port._shouldShutdown, getattr(port, "keeps_name", None))
        port._shouldShutdown = False  # shutdown(2) would be for both; Twisted keeps to this for sockets that it was given, too
        port.keeps_name = True

    def alone(self) -> None:
        """No other process has its socket any more."""
        port = self._port
        if self._alone is not None:
            port._shouldShutdown, keeps = self._alone
            port.keeps_name = bool(keeps)
        self._alone = None

    def go_on(self) -> None:
        """Accept connections again, alone."""
        self.alone()
        self._port.startReading()

    def stopService(self) -> Deferred[None] | None:
        """Stop listening; fires when the socket is gone."""
        if self._waitingForPort is None:
            return None
        stopping: Deferred[None] = super().stopService()
        return stopping
