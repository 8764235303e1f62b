"""
Listening sockets: made so that the right user can connect to them and nobody else, and never on top of a living one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import Any

from attrs import frozen
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from nbdtun.errors import ConfigError


@implementer(IStreamServerEndpoint)
@frozen
class LocalEndpoint:
    """
    Wraps ``endpoint``; where that makes the UNIX socket ``path``, a stale file of a dead daemon is replaced, a living socket
    is not, and the new one belongs to ``owner`` (uid and gid, -1 for unchanged). ``label`` is how messages name it.
    """

    endpoint: Any
    label: str
    path: str | None = None
    owner: tuple[int, int] | None = None

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        if self.path is not None:
            clear_stale(self.path)
        try:
            port: IListeningPort = await self.endpoint.listen(factory)
        except (CannotListenError, OSError) as failure:
            reason = getattr(failure, "socketError", failure)
            raise ConfigError(f"{self.label}: {getattr(reason, 'strerror', None) or reason}") from failure
        if self.path is not None and self.owner is not None:
            try:
                os.chown(self.path, *self.owner)
            except OSError as failure:
                await _stopped(port)
                raise ConfigError(f"{self.label}: cannot be given to its owner: {failure.strerror}") from failure
        return port

    def listen(self, protocolFactory: IProtocolFactory) -> Any:
        """Listen; the Deferred fails with :exc:`ConfigError` if that cannot be."""
        return Deferred.fromCoroutine(self._listen(protocolFactory))


def clear_stale(path: str) -> None:
    """
    Remove the file ``path`` if it is a socket that nobody listens on any more.

    A datagram socket cannot connect to a stream socket, but is told a living one (EPROTOTYPE) from a dead one (ECONNREFUSED):
    whoever listens there is not disturbed (unix_find_bsd() in Linux's net/unix/af_unix.c).

    :raise ConfigError: somebody listens there, or it is no socket at all.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # not there, or nothing that we could see: whoever listens next will be told
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path}: there is a file of that name, and it is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError:
            pass
    raise ConfigError(f"{path}: another process listens there already")


async def _stopped(port: IListeningPort) -> None:
    stopping = port.stopListening()
    if stopping is not None:
        await stopping


class ListeningService(StreamServerEndpointService):
    """
    Twisted's, which must not start if it cannot listen, as strports.service() has it; and which can be stopped though it never began, as
    happens when another service beside it cannot start.
    """

    _raiseSynchronously = True

    def stopService(self) -> Deferred[None] | None:
        """Listen no more; fires when the socket is gone."""
        if self._waitingForPort is None:
            return None
        stopping: Deferred[None] = super().stopService()
        return stopping
