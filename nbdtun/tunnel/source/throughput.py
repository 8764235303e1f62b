"""
The tunnel's present throughput, measured on a channel to the destination's sink that is filled for a moment.

Only acknowledged bytes count: they have left the tunnel at the other end. So encryption, both daemons and the window have the same effect
as in a migration with one channel. The data is random, so that no compression on the way can distort the result. TCP needs some round trips
to find the line's rate, and these do not count.
"""

from __future__ import annotations

import enum
import os
import socket
from operator import itemgetter

from attrs import frozen
from twisted.internet.task import deferLater

from nbdtun.errors import LinkLost
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.settings import SINK
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.selector import WireSelector

SECONDS = 2.0
#: Round trips until TCP has found the rate of a line.
WARM_UP = 20
#: Seconds of a round trip from which TCP's buffers may be what holds it back.
FAR = 0.01
#: What is on its way, as a part of a buffer, from which the buffer holds it back.
FULL = 0.7
#: Bytes that are written at a time.
PIECE = 256 * 1024


class Held(enum.Enum):
    """The end whose TCP buffer is smaller than what the line holds."""

    HERE = "source"
    THERE = "destination"


@frozen
class Throughput:
    """Bytes per second that one channel delivers, and the end that holds it back, if one does."""

    rate: float
    held: Held | None = None


async def throughput(source: Source, seconds: float = SECONDS) -> Throughput:
    """
    What one channel delivers to the destination, measured for ``seconds``, or longer if that is far away.

    :raise TunnelError: the channel could not be opened, or failed, or nothing arrived.
    """
    reactor = source.runtime.reactor
    ours, theirs = socket.socketpair()
    with ours:
        channel = await source.open(SINK, theirs)
        pump = _Pump(source.runtime.selector, ours.dup())
        try:
            await deferLater(reactor, seconds / 2)
            await deferLater(reactor, max(0.0, WARM_UP * _round_trip(channel) - seconds / 2))
            before, began = channel.outbound.acked, reactor.seconds()
            await deferLater(reactor, max(seconds / 2, WARM_UP / 2 * _round_trip(channel)))
            rate = (channel.outbound.acked - before) / (reactor.seconds() - began)
            held = _held(channel, rate)
        finally:
            pump.stop()
    if channel.error is not None:
        raise channel.error.again()
    if not channel.outbound.acked:
        raise LinkLost(f"nothing arrived at the destination within {seconds:g} s")
    return Throughput(rate, held)


def _round_trip(channel: Channel) -> float:
    return channel.link.round_trip if channel.link is not None else 0.0


def _held(channel: Channel, rate: float) -> Held | None:
    buffers = channel.link.wire.most_on_their_way if channel.link is not None else None
    if buffers is None or _round_trip(channel) < FAR:
        return None
    fullness, end = max(zip((rate * _round_trip(channel) / (most or 1) for most in buffers), Held, strict=True), key=itemgetter(0))
    return end if fullness >= FULL else None


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
