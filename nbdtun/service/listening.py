"""The service that listens on an endpoint of ours."""

from __future__ import annotations

from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred


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
