"""
Links: one live connection that carries a channel at present.

A link turns bytes into frames and back; their meaning is the channel's business. It notices when the other end is gone, even if TCP
reports nothing: an end with nothing to send sends a PING from time to time (see ``heartbeat``).
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol as TwistedProtocol

from nbdtun.errors import LinkLost, ProtocolViolation
from nbdtun.tunnel.channels.heartbeat import Heartbeat
from nbdtun.tunnel.channels.link_user import LinkUser
from nbdtun.tunnel.channels.rtt import RoundTrip
from nbdtun.tunnel.opening.transport import OpeningTransport
from nbdtun.tunnel.protocol.frames import HEADER, Decoder, FrameReceiver, Kind, encode, encode_reset
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.wires.plain import Wire

#: Seconds for which an acknowledgement may wait for data to travel with.
ACK_DELAY = 0.02

#: Seconds after which a link is read even though the local socket is full.
READ_AGAIN = 0.05

#: The fewest bytes of a frame for which a pipe pays.
BULK = 64 * 1024

#: Reads after a large frame in which another one is expected, so that nothing behind its header is read.
EXPECT = 8


class Link(TwistedProtocol, FrameReceiver):
    """One connection of ``channel``, once AMP has switched to it."""

    def __init__(self, channel: LinkUser[Link], runtime: Runtime) -> None:
        self.wire = cast("Wire", None)  # until AMP has switched
        self._channel = channel
        self._inbound, self._outbound = channel.inbound, channel.outbound
        self._runtime = runtime
        self._reactor = reactor = runtime.reactor
        self._scratch = runtime.pool.scratch
        self._expected = 0  # reads in which another large frame is expected
        self._decoder = Decoder(self)
        self._round_trip = RoundTrip(reactor.seconds)
        self._out: memoryview | None = None  # a frame, or its rest, for which the wire had no room
        self._control = bytearray()  # frames other than the stream's: a few headers, one RESET at most
        self._ack_timer: IDelayedCall | None = None
        self._read_timer: IDelayedCall | None = None
        self._heartbeat = Heartbeat(runtime.terms.link_timeout, reactor.seconds)
        self._closing = False
        self.paused = False  # nothing is read: the other end is being told how much has been received
        self._pieces: list[memoryview] = []  # of the stream, from one read: they are passed on together

    def __repr__(self) -> str:
        return f"<Link {self.wire or 'unmade'!r} closing={self._closing}>"

    @property
    def round_trip(self) -> float:
        """The shortest round trip so far, in seconds; 0.0 before the first."""
        return self._round_trip.shortest

    def makeConnection(self, transport: Any) -> None:
        """AMP has switched: take its wire."""
        assert isinstance(transport, OpeningTransport)
        self.begin(*transport.release())

    def begin(self, wire: Wire, out: memoryview | None = None) -> None:
        """Carry the channel over ``wire``: send what is left of ``out``, and acknowledge at once what this end has."""
        self.wire, self._out = wire, out
        if not self.wire.rekeys and self._channel.dials:
            self._heartbeat.watch_keys(self._channel.carried)
        self.wire.user = self
        self._runtime.call_later(self._heartbeat.interval, self._beat)
        self._control += encode(Kind.ACK, self._channel.inbound.take_ack()) + self._round_trip.ping()
        self.wire.listen(True)
        self._channel.link_attached(self)
        if self.wire.closed:  # it broke while the answer was written; nothing else reports that
            self._channel.link_lost(self, LinkLost("the other end closed the link"))

    def dataReceived(self, data: bytes) -> None:
        """Take data that arrived together with AMP's last box."""
        self._understand(memoryview(data))

    def close(self) -> None:
        """Close at once, without a call to the channel."""
        self._stop_timers()
        self._decoder.over = True  # the rest of the present piece belongs to no channel
        self.wire.close()  # the next beat sees that, and is the last

    # Sending.

    def pump(self) -> None:
        """Send all that is ready, as far as there is room."""
        wire = self.wire
        if wire.closed:
            return
        try:
            while (frame := self._out or self._next()) is not None:
                self._heartbeat.spoke = True
                sent = wire.write(frame)
                if sent < len(frame):
                    self._out = frame[sent:]
                    wire.want_room()
                    return
                self._out = None
                self._outbound.leaving = False
        except OSError as broken:
            self.wire_lost(broken)
            return
        if self._closing:
            self._stop_timers()
            wire.close_gently()

    def say_last(self, frame: bytes) -> None:
        """Send ``frame``, and close as soon as it is sent; further input is ignored."""
        if self._out:
            self._out = memoryview(bytes(self._out))  # the channel is over, and its memory will be reused
        self._control += frame
        self._closing = self._decoder.over = True
        self.pump()

    def reset(self, code: str, reason: str) -> None:
        """Send a RESET to the other end, and close."""
        self.say_last(encode_reset(code, reason))

    def acknowledge(self) -> None:
        """Acknowledge written bytes: now if they are many, else with the next data, or soon."""
        if self._inbound.ack_due:
            self.pump()
        elif self._ack_timer is None and self._inbound.owed:
            self._ack_timer = self._reactor.callLater(ACK_DELAY, self._ack_now)

    def _next(self) -> memoryview | None:
        if self._control:
            control, self._control = self._control, bytearray()
            return memoryview(control)
        if self._closing:
            return None
        outbound, inbound = self._outbound, self._inbound
        if outbound.unsent or (outbound.final is not None and outbound.pending):
            return outbound.next_frame(inbound.ack_along())
        if inbound.ack_due:
            return memoryview(encode(Kind.ACK, inbound.take_ack()))
        return None

    def _ack_now(self) -> None:
        self._ack_timer = None
        inbound = self._inbound
        if inbound.owed:
            self._control += encode(Kind.ACK, inbound.take_ack())
            self.pump()

    def _stop_timers(self) -> None:
        for timer in (self._ack_timer, self._read_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._ack_timer = self._read_timer = None

    # Heartbeat.

    def _beat(self) -> None:
        wire = self.wire
        if wire.closed:
            return
        heartbeat = self._heartbeat
        self._runtime.call_later(heartbeat.interval, self._beat)
        if not heartbeat.heard and wire.listening:
            wire.doRead()  # the kernel reports a large record only when it is whole, which takes long on a slow line
            if wire.closed:
                return
        if (trouble := heartbeat.trouble(wire.partial, self._channel.carried, closing=self._closing)) is not None:
            self.wire.tear()  # if it hears of this, it is no end of this process
            self.wire_lost(trouble)
            return
        if heartbeat.worn(self._channel.carried):
            self._channel.renew()
        if not heartbeat.spoke:
            self._control += self._round_trip.ping()
            self.pump()
        heartbeat.rest()
        wire.partial = 0

    # Reading.

    def hold(self) -> None:
        """
        Leave input in the kernel's buffers: the local socket is full, and the input would only be copied here.
        The link is read again soon all the same, since the input may be other frames than data.
        """
        self.wire.listen(False)
        if self._read_timer is None:
            self._read_timer = self._reactor.callLater(READ_AGAIN, self._read_on)

    def go_on(self) -> None:
        """Read again."""
        self.wire.listen(not self.paused)

    def _read_on(self) -> None:
        self._read_timer = None
        self.go_on()

    # The wire's user.

    def wire_readable(self) -> None:
        """Read frames, but let other wires have their turn."""
        decoder = self._decoder
        for _ in range(self.wire.selector.reads):
            if decoder.missing >= BULK and self._passable:
                self._expected = EXPECT
                count = self._pour()
            else:
                count = self._read()
            if count is None:
                return
            if not count:
                self._runtime.contact.hung_up = True
                self.wire_lost(LinkLost("the other end closed the link"))
                return
            self._heartbeat.heard = True
            self._runtime.contact.heard()
            if not self.wire.listening or not (self._expected or count == len(self._scratch)):
                return

    def _read(self) -> int | None:
        scratch = self._scratch
        if self._expected:
            self._expected -= 1
            scratch = scratch[: self._decoder.missing + HEADER.size]
        count = self.wire.read_into(scratch)
        if count:
            self._understand(scratch[:count])
        return count

    @property
    def _passable(self) -> bool:
        """Whether bytes may go to the local socket without passing through this process."""
        return self.wire.plain and self._channel.pourable and not self._decoder.over

    def _pour(self) -> int | None:
        decoder = self._decoder
        try:
            self._inbound.expect(decoder.offset, decoder.missing)
        except ProtocolViolation as violation:
            self._channel.reset(violation)
            return None
        count = self._channel.pour(self.wire.fileno(), decoder.missing)
        if count:
            decoder.pass_over(count)
        return count

    def wire_writable(self) -> None:
        """Go on sending."""
        self.pump()

    def wire_lost(self, reason: Exception) -> None:
        """The connection is gone; the channel is not."""
        self.close()
        self._channel.link_lost(self, reason)

    def _understand(self, data: memoryview) -> None:
        try:
            self._decoder.feed(data)
            self._flush()
        except ProtocolViolation as violation:
            self._channel.reset(violation)

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._channel.deliver(pieces)

    # The decoder's receiver.

    def ack_asked(self, offset: int) -> None:
        """The other end has little room left."""
        self._inbound.asked(offset)

    def data_received(self, offset: int, piece: memoryview) -> None:
        """Part of the stream."""
        self._inbound.accept(offset, len(piece))
        self._pieces.append(piece)

    def ack_received(self, offset: int) -> None:
        """The other end has received more."""
        outbound = self._outbound
        outbound.acknowledge(offset)
        if self._round_trip.far:
            self._grow()
        self._channel.acknowledged()

    def fin_received(self, offset: int) -> None:
        """The end of the stream."""
        self._flush()
        self._channel.end_received(offset)

    def reset_received(self, code: str, reason: str) -> None:
        """The other end has given up."""
        self._flush()
        self._channel.reset_received(code, reason)

    def bye_received(self) -> None:
        """The destination is done."""
        self._channel.bye_received()

    def ping_received(self, token: int) -> None:
        """Answer that this end is alive."""
        if len(self._control) < 1024:
            self._control += encode(Kind.PONG, token)
            self.pump()

    def pong_received(self, token: int) -> None:
        """The answer arrived; it measures the round trip."""
        self._control += self._round_trip.answered(token)
        self._outbound.bdp = self._round_trip.bdp
        if self._round_trip.far:
            self.wire.make_far(self._outbound.growth.limit, self._inbound.window)
        self.pump()

    def _grow(self) -> None:
        growth = self._outbound.growth
        before = growth.limit
        growth.delivered(self._outbound.acked, self._reactor.seconds(), self._round_trip.shortest)
        if growth.limit > before:
            self.wire.make_far(growth.limit, self._inbound.window)
