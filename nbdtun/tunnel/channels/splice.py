"""
A splice: the local socket of a channel, joined to its two streams.

It reads while the outbound stream has room, and stops when there is none: that is how back-pressure reaches the local program. Data from
the other end is written at once, straight from the link's buffer or through a pipe from the link itself. Only bytes that the socket does
not take are kept.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from nbdtun.deferreds import end_of
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.outbound import FULL, Outbound
from nbdtun.tunnel.runtime.throttle import Limit
from nbdtun.tunnel.wires.pipe import Pipe, PipePool
from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.selector import WireSelector

#: Called before a local program hears of an end that it has not asked for; its connection stays until the Deferred fires.
Farewell = Callable[[], "Deferred[Any]"]

#: After a read of fewer bytes than this, most likely nothing more is there.
SMALL = 128 * 1024


class SpliceUser(Protocol):
    """The channel, as its splice sees it."""

    inbound: Inbound
    outbound: Outbound

    def filled(self) -> None:
        """There is more to send to the other end, or the end of the stream."""

    def full(self) -> None:
        """There is no room for more from the local socket."""

    def drained(self) -> None:
        """The local socket has taken all waiting bytes."""

    def written(self) -> None:
        """There is more to acknowledge to the other end."""

    def broken(self, reason: OSError) -> None:
        """The local socket has failed: give up the channel."""


class Splice:
    """
    Joins ``sock`` to the streams of ``channel``.

    A local program that closes its socket with unread data cuts off only that direction. All that it wrote before still goes to the other
    end, to the last byte (QEMU ends its migration stream like that).

    On a UNIX socket the kernel reports that as ECONNRESET or EPIPE, and all that was written before can be read. On a TCP connection a
    reset may have destroyed bytes on their way, so it is no end of the stream: only EPIPE follows a proper end. Any other error
    (ENOBUFS, ENOMEM, ETIMEDOUT...) says nothing of the program. After these the channel is given up.
    """

    def __init__(
        self,
        selector: WireSelector,
        sock: socket.socket,
        channel: SpliceUser,
        throttle: Limit,
        pipes: PipePool,
        *,
        urgent: bool = False,
        farewell: Farewell | None = None,
    ) -> None:
        self.urgent = urgent
        self._farewell = farewell
        self._parting: Deferred[Any] | None = None
        self._channel = channel
        self._inbound, self._outbound = channel.inbound, channel.outbound
        self._throttle = throttle
        self._waiting = False  # in the throttle's line
        self._ends = {errno.EPIPE, errno.ECONNRESET} if sock.family == socket.AF_UNIX else {errno.EPIPE}
        self._wire = Wire(selector, sock, self)
        self._pipes = pipes
        self._pipe: Pipe | None = None  # its bytes wait for room, before those of the backlog
        self.write_error: Exception | None = None  # why nothing can be written to the local socket any more

    def __repr__(self) -> str:
        return f"<Splice {self._wire!r} write_error={self.write_error!r}>"

    def close(self) -> None:
        """
        Close the local socket at once, or, as its program sees it, after the farewell.

        That is the end of a stream if the other end's was passed to the program, else a reset, where TCP has one.
        """
        self._throttle.forget(self)
        if not self._wire.closed and self._unasked:
            kept = os.dup(self._wire.fileno())
            self._after_farewell(lambda: os.close(kept))
        self._wire.close() if self._inbound.done else self._wire.tear()
        if self._pipe is not None:
            self._pipes.give(self._pipe)
            self._pipe = None

    @property
    def _unasked(self) -> bool:
        """Whether an end must wait for the farewell: the local program has not ended its own stream."""
        return self._farewell is not None and self._outbound.final is None

    def _after_farewell(self, then: Callable[[], object]) -> None:
        if self._parting is None:
            assert self._farewell is not None
            self._parting = self._farewell()
        end_of(self._parting).addCallback(lambda _: then())

    # From the local socket.

    def wire_readable(self) -> None:
        """Read as much as there is room for, and pass on each piece at once."""
        wire, read, limited = self._wire, self._outbound.read, self._throttle.limited
        for _ in range(wire.selector.reads):
            try:
                count = self._read_limited() if limited else read(wire.read_into)
            except OSError as broken:
                if broken.errno not in self._ends:
                    self._fail(broken)
                    return
                count = 0  # closed with our bytes unread: for the other direction, an end like any other
            if count is None:
                return
            if count == FULL:
                wire.listen(False)
                self._channel.full()
                return
            if not count:
                self._finish()
                return
            self._channel.filled()
            if count < SMALL:
                return

    def _read_limited(self) -> int | None:
        throttle = self._throttle
        if not self._outbound.roomy:
            return FULL
        granted = throttle.grant(self)
        if not granted:
            self._waiting = True
            self._wire.listen(False)
            return None
        count = self._outbound.read(self._wire.read_into, granted)
        throttle.spent(count or 0)
        return count

    def make_room(self) -> None:
        """The outbound stream has room again."""
        outbound = self._outbound
        if outbound.roomy and not self._waiting:
            self._wire.listen(True)

    def allowed(self) -> None:
        """The throttle lets it read again."""
        self._waiting = False
        self.make_room()
        if self._wire.listening:
            self.wire_readable()

    def _finish(self) -> None:
        self._wire.listen(False)
        self._outbound.finish()
        self._channel.filled()

    # To the local socket.

    def write(self, pieces: list[memoryview]) -> None:
        """Write ``pieces`` in one call; bytes without room are kept."""
        inbound = self._inbound
        sent = 0
        if self._pipe is None and not inbound.backlog.size:
            sent = self._try(pieces)
            inbound.written += sent
            if inbound.written == inbound.received:
                return
        self._keep(pieces, sent)

    def pour(self, source: int, count: int) -> int | None:
        """
        Write at most ``count`` bytes from the descriptor ``source``, when no earlier bytes wait; bytes without room are kept.

        Returns the count of bytes, 0 at the end, None when there is nothing now.

        :raise OSError: ``source`` broke.
        """
        pipe = self._pipes.take()
        if pipe is None:
            return None
        inbound, poured, came = self._inbound, 0, None
        try:
            while poured < count and not pipe.held and (came := pipe.fill(source, count - poured)):
                poured += came
                inbound.received += came
                self._empty(pipe)
        finally:
            self._return_pipe(pipe)
        return poured or came

    def _empty(self, pipe: Pipe) -> None:
        """Write the bytes in ``pipe``, or discard them if nothing can be written any more."""
        count = pipe.held
        if self.write_error is None:
            try:
                count = pipe.empty(self._wire.fileno())
            except OSError as broken:
                self._unwritable(broken)
        self._inbound.written += count

    def _return_pipe(self, pipe: Pipe) -> None:
        """Return ``pipe``, unless bytes are left in it: then keep it, or copy them to the backlog."""
        if pipe.held and self.write_error is None:
            self._wire.want_room()
            if self._pipes.keep(pipe):
                self._pipe = pipe
                return
            while pipe.held:
                self._inbound.backlog.append(pipe.read())
        self._pipe = None
        self._pipes.give(pipe)

    def _keep(self, pieces: list[memoryview], sent: int) -> None:
        backlog = self._inbound.backlog
        for piece in pieces:
            if sent < len(piece):
                backlog.append(piece[sent:])
            sent = max(0, sent - len(piece))
        self._wire.want_room()

    def write_end(self) -> None:
        """If all data is written, pass the end to the local program."""
        if not self._inbound.ended:
            return
        if not self._unasked:
            self._pass_end()
        elif self._parting is None:
            self._after_farewell(self._pass_end_late)

    def _pass_end(self) -> None:
        self._wire.write_end()
        self._inbound.wrote(1)

    def _pass_end_late(self) -> None:
        if self._inbound.ended and not self._wire.closed:
            self._pass_end()
            self._channel.written()

    def wire_writable(self) -> None:
        """Write the kept bytes."""
        if (pipe := self._pipe) is not None:
            self._empty(pipe)
            if self._pipe is pipe:  # not given back, as the channel was given up
                self._return_pipe(pipe)
        if self._pipe is None and self._write_backlog():
            self._channel.drained()
        self.write_end()
        self._channel.written()

    def _write_backlog(self) -> bool:
        """Write the backlog; returns whether all of it was written."""
        backlog = self._inbound.backlog
        while backlog:
            sent = self._try([backlog.head()])
            if self._wire.closed:
                return True
            if not sent:
                self._wire.want_room()
                return False
            self._inbound.wrote(sent)
            backlog.consume(sent)
        return True

    def wire_lost(self, reason: Exception) -> None:
        """The local program has closed its socket: nothing can be written to it, but its last bytes must still be read."""
        self.write_error = self.write_error or reason
        self.wire_writable()
        self.make_room()

    def _try(self, pieces: list[memoryview]) -> int:
        """Write, or pretend to after the reader has gone, so that the other end does not wait for it."""
        if self.write_error is None:
            try:
                return self._wire.write(pieces[0]) if len(pieces) == 1 else self._wire.write_all(pieces)
            except OSError as broken:
                self._unwritable(broken)
        return sum(map(len, pieces))

    def _unwritable(self, broken: OSError) -> None:
        """Discard what is written from now on, or give up the channel if the program has not closed its socket."""
        self.write_error = broken
        if broken.errno not in self._ends:
            self._fail(broken)

    def _fail(self, broken: OSError) -> None:
        if not self._wire.closed:
            self._channel.broken(broken)
