"""One end of a tunnel that loses everything with its connection: nbdtun's wires and slabs, without its streams.

    python undurable.py source ENTRANCE PORT [TLS-DIRECTORY]
    python undurable.py destination PORT SERVER [TLS-DIRECTORY]

The same are: the sockets' own descriptors, looked after as the daemons look after theirs, reading into pooled
memory and writing at once, the pipe for large pieces, TLS with the same contexts and
the same records, the back-pressure. Missing are: frames and their headers, offsets, the bytes that are kept
for a replay, acknowledgements in both directions, heartbeats, the opening by AMP.
"""

from __future__ import annotations

import socket
import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from nbdtun.tls import contexts
from nbdtun.tunnel.channels.link import BULK
from nbdtun.tunnel.channels.splice import SMALL
from nbdtun.tunnel.opening.detach import connect, detach
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.settings import Records, Terms
from nbdtun.tunnel.wires.pipe import Pipe
from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.secure import Security
from nbdtun.tunnel.wires.selector import READS
from nbdtun.tunnel.wires.tuning import LoopbackReactor, make_roomy

RUNTIME = Runtime(reactor, Terms())
SELECTOR = RUNTIME.selector


class Half:
    """One socket, and the bytes that come from it: written to its twin at once, or kept until there is room."""

    twin: Half
    wire: Wire
    piped = False
    """Whether what comes may pass through the pipe, as it does at the receiving end of a daemon."""

    def __init__(self) -> None:
        self._slab = RUNTIME.pool.take()
        self._left = memoryview(b"")
        self._pipe: Pipe | None = None  # with what is left, where that came through it
        self._ended = False
        self._large = False  # whether the latest read was, so that the next is worth the pipe
        self.ready = False

    def join(self, wire: Wire) -> None:
        """It can be used from now on."""
        self.wire, wire.user = wire, self
        self.wire_writable()

    def wire_readable(self) -> None:
        for _ in range(READS):
            if self._left or self._pipe is not None:
                return
            count = self._pass_on() if self._large and self.piped else self._read()
            if count is None:
                return
            if not count:
                self._end()
                return
            self._large = count >= BULK
            if count < SMALL:
                return

    def _read(self) -> int | None:
        count = self.wire.read_into(self._slab.view)
        if count:
            self._left = self._slab.view[:count]
            self.flush()
        return count

    def _pass_on(self) -> int | None:
        pipe = RUNTIME.pipes.take()
        assert pipe is not None
        count = pipe.fill(self.wire.fileno(), len(self._slab.view))
        self._pipe = pipe
        self.flush()
        return count

    def flush(self) -> None:
        """Write what came; read on when all of it is on its way."""
        if self._pipe is not None:
            self._pipe.empty(self.twin.wire.fileno())
            if not self._pipe.held:
                RUNTIME.pipes.give(self._pipe)
                self._pipe = None
        elif self._left:
            self._left = self._left[self.twin.wire.write(self._left) :]
        if self._left or self._pipe is not None:
            self.wire.listen(False)
            self.twin.wire.want_room()
        else:
            self.wire.listen(not self._ended)

    def wire_writable(self) -> None:
        if not self.ready:
            self.ready = True
            if self.twin.ready:
                self.flush()
        if self.twin.ready:
            self.twin.flush()

    def wire_lost(self, reason: Exception) -> None:
        self.wire.close()
        self.twin.wire.close()

    def _end(self) -> None:
        self._ended = True
        self.wire.listen(False)
        self.twin.wire.write_end()
        if self.twin._ended:
            self.wire_lost(ConnectionError("both have ended"))


class End:
    """Makes two halves of each connection."""

    def __init__(self, role: str, onward: IStreamClientEndpoint, directory: str) -> None:
        self._role, self._onward = role, onward
        make = contexts.client_context if role == "source" else contexts.server_context
        self._context = make(directory) if directory else None

    async def arrived(self, accepted: socket.socket) -> None:
        """Connect onwards, and join."""
        onward = make_roomy(await connect(self._onward))
        here, there = Half(), Half()
        here.twin, there.twin = there, here
        inner, outer = (here, there) if self._role == "source" else (there, here)
        inner_socket, outer_socket = (accepted, onward) if self._role == "source" else (onward, accepted)
        inner.wire = Wire(SELECTOR, inner_socket, inner)
        inner.join(inner.wire)
        self._begin(outer_socket, outer)

    def _begin(self, sock: socket.socket, half: Half) -> None:
        if self._context is None:
            half.piped = True
            half.join(Wire(SELECTOR, sock, half))
            return
        security = Security(self._context, Records.BATCHED, "127.0.0.1" if self._role == "source" else None)
        half.wire = security.wire(SELECTOR, sock, half, RUNTIME.records)
        half.wire.listen(True)
        half.wire.want_room()


class Arrival(Protocol):
    def __init__(self, end: End) -> None:
        self._end = end

    def connectionMade(self) -> None:
        Deferred.fromCoroutine(self._end.arrived(make_roomy(detach(self.transport))))


def main(role: str, here: str, there: str, directory: str = "") -> None:
    tcp = LoopbackReactor(reactor)
    listen: IStreamServerEndpoint
    onward: IStreamClientEndpoint
    if role == "source":
        listen, onward = UNIXServerEndpoint(reactor, here), TCP4ClientEndpoint(tcp, "127.0.0.1", int(there))
    else:
        listen, onward = TCP4ServerEndpoint(tcp, int(here), interface="127.0.0.1"), UNIXClientEndpoint(reactor, there)
    end = End(role, onward, directory)
    listen.listen(Factory.forProtocol(lambda: Arrival(end)))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
