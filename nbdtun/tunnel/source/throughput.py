"""
The tunnel's present throughput, measured on a channel to the destination's sink that is filled for a moment.

Only acknowledged bytes count: they have left the tunnel at the other end. So encryption, both daemons and the window have the same effect
as in a migration with one channel. The data is random, so that no compression on the way can distort the result.
"""

from __future__ import annotations

import os
import socket

from twisted.internet.task import deferLater

from nbdtun.errors import LinkLost
from nbdtun.tunnel.settings import SINK
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.selector import WireSelector

SECONDS = 2.0
#: Bytes that are written at a time.
PIECE = 256 * 1024


async def throughput(source: Source, seconds: float = SECONDS) -> float:
    """
    Bytes per second that one channel delivers to the destination, measured for ``seconds``.

    :raise TunnelError: the channel could not be opened, or failed, or nothing arrived.
    """
    reactor = source.runtime.reactor
    ours, theirs = socket.socketpair()
    with ours:
        channel = await source.open(SINK, theirs)
        began = reactor.seconds()
        pump = _Pump(source.runtime.selector, ours.dup())
        try:
            await deferLater(reactor, seconds)
        finally:
            pump.stop()
    arrived = channel.outbound.acked
    if channel.error is not None:
        raise channel.error.again()
    if not arrived:
        raise LinkLost(f"nothing arrived at the destination within {seconds:g} s")
    return float(arrived / (reactor.seconds() - began))


class _Pump:
    """Writes as much as the channel takes; a wire's user."""

    def __init__(self, selector: WireSelector, sock: socket.socket) -> None:
        self._piece = memoryview(os.urandom(PIECE))
        self._wire = Wire(selector, sock, self)
        self._wire.want_room()

    def stop(self) -> None:
        """Send the end, which ends the channel in both directions."""
        self._wire.write_end()
        self._wire.close()

    def wire_writable(self) -> None:
        """Write until there is no room."""
        while self._wire.write(self._piece) == len(self._piece):
            pass
        self._wire.want_room()

    def wire_readable(self) -> None:
        """The sink never answers."""

    def wire_lost(self, reason: Exception) -> None:
        """The channel is gone; its own error has the reason."""
        self._wire.close()
