"""
Taking a connected socket out of Twisted's hands.

Twisted's endpoints listen, connect, resolve and parse; when a connection stands, its socket is taken over and the transport is left empty.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from nbdtun.errors import ConfigError
from nbdtun.tunnel.wires.tuning import make_prompt


def detach(transport: object) -> socket.socket:
    """
    Return the socket of ``transport``, which must just have been connected and is of no more use afterwards.

    :raise ConfigError: there is no plain socket below it (a TLS or PROXY wrapper of Twisted's, say).
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket):
        raise ConfigError(f"{type(transport).__name__} has no socket of its own; use a tcp: or unix: endpoint")
    transport.pauseProducing()  # type: ignore[attr-defined]  # the reactor must not watch it any more
    return make_prompt(socket.socket(fileno=handle.detach()))


class Catch(Protocol):
    """A protocol that hands its socket over to ``take`` as soon as it is connected, or has been accepted."""

    def __init__(self, take: Callable[[socket.socket], object]) -> None:
        self._take = take

    def connectionMade(self) -> None:
        """Take the socket before the first byte is read."""
        self._take(detach(self.transport))


async def connect(endpoint: IStreamClientEndpoint) -> socket.socket:
    """Connect to ``endpoint`` and return the socket; whatever the endpoint raises is raised."""
    caught: list[socket.socket] = []
    factory = Factory.forProtocol(lambda: Catch(caught.append))
    factory.noisy = False
    await endpoint.connect(factory)
    return caught[0]
