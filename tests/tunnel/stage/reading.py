"""What a stream reads from, without a socket."""

from __future__ import annotations

from nbdtun.tunnel.protocol.outbound import Receive


def reading(data: bytes) -> Receive:
    """There is ``data``, or as much of it as there is room for."""

    def receive(space: memoryview) -> int:
        count = min(len(data), len(space))
        space[:count] = data[:count]
        return count

    return receive


def nothing(space: memoryview) -> None:
    """There is nothing now."""
