"""Both ends of one connection under TLS, what the client can do to it, and a line that can be cut at any byte."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from nbdtun.tls import contexts
from nbdtun.tunnel.protocol.records import BUFFER
from nbdtun.tunnel.settings import Records
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.secure import Security
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.pool import CountingPool
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.user import User

Pair = Callable[[], tuple[socket.socket, socket.socket]]


class Ends:
    """Both ends of a connection; ``client`` has batched wires, ``raw`` is its socket itself."""

    def __init__(
        self,
        crank: Crank,
        tls: Path,
        pair: Pair = tcp_pair,
        room: int | None = None,
        far: Records = Records.BATCHED,
        name: str = "localhost",
    ) -> None:
        self.crank = crank
        self.pool = CountingPool(size=BUFFER)
        self.client, self.server = User(), User()
        ours, theirs = pair()
        self.raw = ours.dup()
        for sock in (ours, theirs):
            if room is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self._put(self.client, ours, Security(contexts.client_context(tls), Records.BATCHED, name))
        self._put(self.server, theirs, Security(contexts.server_context(tls), far))
        crank.rest()

    def _put(self, user: User, sock: socket.socket, security: Security) -> None:
        user.wire = security.wire(self.crank, sock, user, self.pool)
        user.wire.listen(True)
        user.wire.want_room()

    @property
    def wire(self) -> BatchedWire:
        assert isinstance(self.client.wire, BatchedWire)
        return self.client.wire

    def send(self, data: bytes) -> None:
        self.client.to_send += data
        self.client.send()
        self.crank.rest()

    def inject(self, kind: int, payload: bytes) -> None:
        """The client sends a record that it would not send by itself."""
        record = memoryview(bytearray(BUFFER))
        self.raw.sendall(record[: self.wire._sealer.seal(kind, payload, record)])
        self.crank.rest()

    def close(self) -> None:
        for user in (self.client, self.server):
            user.wire.close()
        self.raw.close()
        assert self.pool.lent == 0
        assert not self.crank.getReaders()
        assert not self.crank.getWriters()


class Line:
    """A line between two sockets that carries only what it is told to, from the client to the server or both ways."""

    def __init__(self) -> None:
        (self.ours, self._near), (self._far, self.theirs) = socket.socketpair(), socket.socketpair()
        for sock in (self._near, self._far):
            sock.setblocking(False)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        return self.ours, self.theirs

    def both_ways(self) -> None:
        for one, other in ((self._near, self._far), (self._far, self._near)):
            with contextlib.suppress(BlockingIOError):
                other.sendall(one.recv(100_000))

    def carry(self, most: int) -> int:
        piece = self._near.recv(most)
        self._far.sendall(piece)
        return len(piece)

    def cut(self) -> None:
        self._near.close()
        self._far.close()
