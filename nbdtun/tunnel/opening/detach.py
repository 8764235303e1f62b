"""
Takes a connected socket out of Twisted.

Twisted's endpoints listen, connect, resolve and parse. Once connected, the socket is taken over and the transport is left empty.
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
    Return the socket of ``transport``, which must have just been connected and cannot be used afterwards.

    :raise ConfigError: there is no plain socket below it (but Twisted's TLS or PROXY wrapper, for example).
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket):
        raise ConfigError(f"{type(transport).__name__} has no socket of its own; use a tcp: or unix: endpoint")
    transport.pauseProducing()  # type: ignore[attr-defined]  # the reactor must no longer watch it
    return make_prompt(socket.socket(fileno=handle.detach()))


class Catch(Protocol):
    """A protocol that gives its socket to ``take`` as soon as it is connected or accepted."""

    def __init__(self, take: Callable[[socket.socket], object]) -> None:
        self._take = take

    def connectionMade(self) -> None:
        """Take the socket before the first byte is read."""
        self._take(detach(self.transport))


async def connect(endpoint: IStreamClientEndpoint) -> socket.socket:
    """Connect to ``endpoint`` and return the socket; the endpoint's errors are passed on."""
    caught: list[socket.socket] = []
    factory = Factory.forProtocol(lambda: Catch(caught.append))
    factory.noisy = False
    await endpoint.connect(factory)
    return caught[0]
