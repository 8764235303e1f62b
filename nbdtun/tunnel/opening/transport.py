"""
The beginning of a link: a few AMP boxes on a wire, before it carries frames.

:class:`OpeningTransport` is AMP's transport, on a wire. It limits how much a peer can send and how long it may take, since only the peer's
certificate has been checked so far.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, ITransport
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.amp import Peer
from nbdtun.errors import LinkLost, ProtocolViolation, TunnelError
from nbdtun.tls.contexts import fingerprint
from nbdtun.tls.failures import explain
from nbdtun.tls.presented import Presented
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.protocol.records import ROOM
from nbdtun.tunnel.protocol.slab import SlabPool
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.secure import Securing
from nbdtun.tunnel.wires.selector import WireSelector
from nbdtun.tunnel.wires.tls import TLSWire
from nbdtun.units import size_text

#: The most bytes of AMP on a connection before it becomes a link; a command has less than 1 KiB.
MAX_OPENING = 16 * 1024

#: Bytes that are read at a time; under TLS, it is a record.
SOME = 4096


class Opening(Peer):
    """AMP on a wire that is to become a link."""

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """Take a question or an answer. A question that wants no answer is refused: no link could use the channel that it opens."""
        if amp.COMMAND in box and amp.ASK not in box:
            raise ProtocolViolation("a question that wants no answer")
        super().ampBoxReceived(box)


@implementer(ITransport)
class OpeningTransport:
    """
    Carries an :class:`Opening` over a wire.

    Messages call the other end ``peer``. Wait for ``ready``: it fails with a TLSError or LinkLost when the handshake does.
    A command that waits for its answer when the connection is lost fails in the same way. ``pool`` lends buffers for TLS records.

    :raise OSError: the connection is already gone.
    """

    disconnecting = False

    def __init__(
        self,
        selector: WireSelector,
        sock: socket.socket,
        peer: str,
        protocol: Opening,
        timeout: float,
        security: Securing | None,
        pool: SlabPool,
    ) -> None:
        self.peer = peer
        self._protocol = protocol
        self._out = bytearray()
        self._taken = 0
        self.ready: Deferred[None] = Deferred()  # the connection is up, including TLS; or the reason of the failure
        self.over: Deferred[None] = Deferred()  # the connection has become a link, or is lost
        self._reactor = selector.reactor
        self.wire = Wire(selector, sock, self) if security is None else security.wire(selector, sock, self, pool)
        self._deadline = self._reactor.callLater(timeout, self._too_slow, timeout)
        self._breaking: IDelayedCall | None = None
        self.wire.listen(security is not None and not security.shaken)
        self.wire.want_room()

    @property
    def identity(self) -> str:
        """The peer's identity: its certificate's fingerprint, "" without TLS. A channel belongs to the identity that opened it."""
        presented = self.presented
        return "" if presented is None else fingerprint(presented.certificate)

    @property
    def presented(self) -> Presented | None:
        """What the peer has presented in its handshake; None without TLS."""
        return self.wire.presented

    def give_up(self, reason: TunnelError) -> None:
        """Close at once, for a reason of our own."""
        self._lose(reason)

    def release(self) -> tuple[Wire, memoryview | None]:
        """The connection has become a link: return its wire, and the rest of the last box, to be sent first."""
        self._stop_waiting()
        return self.wire, memoryview(bytes(self._out)) if self._out else None

    def move(self) -> tuple[socket.socket, LinkState | None]:
        """
        Part with the connection before it is a link: return its socket and the state of its TLS, for another process.

        :raise TunnelError: it cannot be moved; then nothing has changed.
        """
        if self.wire.closed:
            raise self._lost("the connection was closed")
        moved = self.wire.move()
        self._stop_waiting()
        return moved

    # The wire's user.

    def wire_readable(self) -> None:
        """Pass the data to AMP."""
        buffer = memoryview(bytearray(SOME if self.wire.plain else ROOM))
        count = self.wire.read_into(buffer)
        if count is None:
            return
        self._taken += count
        if not count:
            self._lose(self._lost("the other end closed the connection"))
        elif self._taken > MAX_OPENING:
            self._lose(self._lost(f"it sent more than {size_text(MAX_OPENING)} before it opened a channel"))
        else:
            self._protocol.dataReceived(bytes(buffer[:count]))

    def wire_writable(self) -> None:
        """The connection is up (the first time), or has room again."""
        if not self.ready.called:
            self.wire.listen(True)
            self._protocol.makeConnection(self)
            self.ready.callback(None)
        elif self._out:
            self._flush()

    def wire_lost(self, reason: Exception) -> None:
        """Report the reason to AMP, in words for an operator."""
        if not self.wire.closed:
            self._lose(reason)

    def _lose(self, reason: Exception) -> None:
        if self.wire.closed:
            return
        self._stop_waiting()
        why = self._explain(reason)
        if self.ready.called:
            self.wire.close()
            self._protocol.connectionLost(Failure(why))
        else:
            # If we refuse its certificate, the alert must reach the peer; otherwise nothing is on its way.
            self.wire.close_gently() if isinstance(reason, ssl.SSLError) else self.wire.close()
            self.ready.errback(why)

    def _explain(self, reason: Exception) -> TunnelError:
        if isinstance(reason, TunnelError):
            return reason
        torn = self.ready.called and isinstance(reason, ConnectionError)  # long after the handshake: not about trust
        if isinstance(self.wire, (BatchedWire, TLSWire)) and isinstance(reason, OSError) and not torn:
            return explain(reason, self.peer, self.wire.tls)
        return self._lost((isinstance(reason, OSError) and reason.strerror) or str(reason))

    def _lost(self, why: str) -> LinkLost:
        return LinkLost(f"{self.peer}: {why}")

    # AMP's transport.

    def write(self, data: bytes) -> None:
        """Send ``data``, now or when there is room."""
        self._out += data
        self._flush()

    def writeSequence(self, data: Any) -> None:
        """Send all of ``data``."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close at once, and report the loss to AMP."""
        self.disconnecting = True
        self._lose(self._lost("the connection was closed"))

    def abortConnection(self) -> None:
        """Close at once."""
        self.loseConnection()

    def getPeer(self) -> Any:
        """The other end's name in messages."""
        return self.peer

    def getHost(self) -> Any:
        """AMP asks for it, but nothing reads it."""
        return "here"

    def _flush(self) -> None:
        if self.wire.closed:
            return
        try:
            sent = self.wire.write(memoryview(bytes(self._out)))
        except OSError as broken:
            # Later, not within AMP's own call: AMP would see the loss before it has recorded its question.
            self._breaking = self._breaking or self._reactor.callLater(0, self._lose, broken)
            return
        del self._out[:sent]
        if self._out:
            self.wire.want_room()

    def _too_slow(self, timeout: float) -> None:
        self._lose(self._lost(f"no answer in {timeout:g} s"))

    def _stop_waiting(self) -> None:
        for timer in (self._deadline, self._breaking):
            if timer is not None and timer.active():
                timer.cancel()
        if not self.over.called:
            self.over.callback(None)
