"""Endpoints to listen on, named as the operator names them: a failure is one line, whatever the kind of endpoint."""

from __future__ import annotations

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
    """Wraps ``endpoint``; ``label`` is how messages name it."""

    endpoint: Any
    label: str

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        try:
            port: IListeningPort = await self.endpoint.listen(factory)
        except (CannotListenError, OSError) as failure:
            reason = getattr(failure, "socketError", failure)
            raise ConfigError(f"{self.label}: {getattr(reason, 'strerror', None) or reason}") from failure
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

    def stopService(self) -> Deferred[None] | None:
        """Stop listening; fires when the socket is gone."""
        if self._waitingForPort is None:
            return None
        stopping: Deferred[None] = super().stopService()
        return stopping
