"""A channel without links, of which only the local side is real."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from nbdtun.tunnel.channels.splice import Farewell, Splice
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.outbound import Outbound
from nbdtun.tunnel.runtime.throttle import Throttle
from nbdtun.tunnel.wires.pipe import PipePool
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.pool import CountingPool

WINDOW = 100_000

Pair = Callable[[], tuple[socket.socket, socket.socket]]


class Side:
    """A channel without links: it notes what its splice tells."""

    def __init__(self, crank: Crank, sock: socket.socket, pipes: PipePool | None = None, farewell: Farewell | None = None) -> None:
        self.pool = CountingPool()
        self.outbound = Outbound(WINDOW, self.pool)
        self.inbound = Inbound(WINDOW, self.pool)
        self.fills = self.writes = self.fulls = self.drains = 0
        self.trouble: list[OSError] = []
        self.splice = Splice(crank, sock, self, Throttle(crank), pipes or PipePool(), farewell=farewell)

    def filled(self) -> None:
        self.fills += 1

    def full(self) -> None:
        self.fulls += 1

    def drained(self) -> None:
        self.drains += 1

    def written(self) -> None:
        self.writes += 1

    def broken(self, reason: OSError) -> None:
        self.trouble.append(reason)
        self.splice.close()
        self.outbound.clear()
        self.inbound.backlog.clear()

    def deliver(self, data: bytes) -> None:
        self.inbound.accept(self.inbound.received, len(data))
        self.splice.write([memoryview(data)])

    def end(self) -> None:
        self.inbound.accept_end(self.inbound.received)
        self.splice.write_end()

    def sent(self) -> bytes:
        """All that has come from the local program; the other end has it now."""
        got = bytearray()
        while (frame := self.outbound.next_frame()) is not None:
            self.outbound.leaving = False
            got += frame[16:]
        self.outbound.acknowledge(self.outbound.sent)
        self.splice.make_room()
        return bytes(got)


def beside(crank: Crank, pair: Pair) -> tuple[Side, socket.socket]:
    ours, theirs = pair()
    theirs.setblocking(False)
    side = Side(crank, ours)
    side.splice.make_room()
    return side, theirs


def take(crank: Crank, program: socket.socket) -> bytes:
    """What is on its way to ``program``, which with TCP may be on another processor still."""
    for _ in range(1000):
        crank.rest()
        if select.select([program], [], [], 0.01)[0]:
            return program.recv(1 << 20)
    raise AssertionError("nothing came")
