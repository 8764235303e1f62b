"""
The sink: a target in the destination's own process that discards all data, for a source that measures the tunnel.

Any source that may open channels can use it. So it limits the bytes and seconds of each channel, and the number of channels; a channel that
exceeds a limit is ended. The data is overwritten by the next read, and never looked at.
"""

from __future__ import annotations

import socket

from nbdtun.errors import TargetUnreachable
from nbdtun.tunnel.destination.targets import local_pair
from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.selector import WireSelector

#: The most bytes of one channel, the most seconds, and the most channels at a time.
MAX_BYTES = 4 << 30
MAX_SECONDS = 15.0
MAX_AT_ONCE = 4

_READ = 1 << 20


class Sink:
    """The target; see :class:`nbdtun.tunnel.destination.targets.Target`."""

    def __init__(self, selector: WireSelector) -> None:
        self._selector = selector
        self._drains: set[_Drain] = set()
        self.scratch = memoryview(bytearray(_READ))

    def __repr__(self) -> str:
        return f"<Sink, {len(self._drains)} channels>"

    async def connect(self, name: str) -> socket.socket:
        """
        Return a socket whose data is discarded.

        :raise TargetUnreachable: there are too many channels, or open files.
        """
        if len(self._drains) >= MAX_AT_ONCE:
            raise TargetUnreachable(f"target {name}: {MAX_AT_ONCE} sources are already measuring the tunnel", "try again later")
        ours, theirs = local_pair(name)
        self._drains.add(_Drain(self._selector, theirs, self))
        return ours

    def emptied(self, drain: _Drain) -> None:
        """A channel has ended."""
        self._drains.discard(drain)


class _Drain:
    """One channel's end; a wire's user."""

    def __init__(self, selector: WireSelector, sock: socket.socket, sink: Sink) -> None:
        self._sink = sink
        self._left = MAX_BYTES
        self._wire = Wire(selector, sock, self)
        self._wire.listen(True)
        self._deadline = selector.reactor.callLater(MAX_SECONDS, self._close)

    def wire_readable(self) -> None:
        """Discard the data."""
        for _ in range(self._wire.selector.reads):
            count = self._wire.read_into(self._sink.scratch)
            if count is None:
                return
            self._left -= count
            if count == 0 or self._left < 0:
                self._close()
                return

    def wire_writable(self) -> None:
        """Nothing is ever written."""

    def wire_lost(self, reason: Exception) -> None:
        """The channel is gone."""
        self._close()

    def _close(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        self._wire.close()
        self._sink.emptied(self)
