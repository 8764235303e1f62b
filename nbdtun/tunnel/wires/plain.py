"""
Wires: one connected, non-blocking socket on the reactor, read into and written from its user's buffers.

Twisted's own transports copy each byte several times, at twice the cost of the system calls. So endpoints, factories and services are
Twisted's, and only the bytes bypass it. A wire needs no more than ``addReader`` and ``addWriter``, so any reactor will do.

The wires of ``tls`` and ``batched`` encrypt.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any, ClassVar, Protocol
from weakref import WeakSet

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.tls.ktls import active
from nbdtun.tls.presented import Presented
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.wires.selector import WireSelector
from nbdtun.tunnel.wires.tuning import make_far, most_on_their_way

#: Seconds for the other end to read the last message.
FAREWELL = 2.0

#: struct linger: close(2) resets the connection (socket(7)).
_NO_LINGER = struct.pack("ii", 1, 0)

#: The most sockets that wait for this at one time: a peer that is refused again and again must not use up descriptors.
MAX_LINGERING = 128


class WireUser(Protocol):
    """The user of a wire. The reactor makes these calls; a wire never makes them from within its user's own call."""

    def wire_readable(self) -> None:
        """There is data to read, or the end."""

    def wire_writable(self) -> None:
        """There is room again; only after :meth:`Wire.want_room`."""

    def wire_lost(self, reason: Exception) -> None:
        """The wire broke. Earlier data can still be read; the user closes the wire."""


@implementer(IReadWriteDescriptor)
class Wire:
    """A plain socket."""

    #: Whether the socket carries the user's bytes unencrypted.
    plain = True

    #: Bytes received that may not yet complete a record. The user resets it.
    partial = 0

    #: Whether its keys change by themselves before they have encrypted too much.
    rekeys = True

    def __init__(self, selector: WireSelector, sock: socket.socket, user: WireUser) -> None:
        sock.setblocking(False)
        self.selector = selector
        self._socket = sock
        self._receive, self._send = sock.recv_into, sock.send
        self.user = user
        self.closed = False
        self.listening = False
        self._wants_room = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd={self._socket.fileno()} reading={self.listening} full={self._wants_room}"
        return f"<{type(self).__name__} {state}>"

    # Called by its user.

    def listen(self, on: bool) -> None:
        """Start or stop calling ``wire_readable``."""
        if on == self.listening or self.closed:
            return
        self.listening = on
        if on:
            self.selector.addReader(self)
        else:
            self.selector.removeReader(self)

    def want_room(self, on: bool = True) -> None:
        """Call ``wire_writable`` once, when there is room to write."""
        if on == self._wants_room or self.closed:
            return
        self._wants_room = on
        if on:
            self.selector.addWriter(self)
        else:
            self.selector.removeWriter(self)

    def read_into(self, buffer: memoryview) -> int | None:
        """
        Read into ``buffer``; return the count of bytes, 0 at the end, None when there is nothing now.

        :raise OSError: the connection broke.
        """
        try:
            return self._receive(buffer)
        except BlockingIOError:
            return None

    def write(self, data: memoryview) -> int:
        """
        Write as much of ``data`` as fits, and return the count of bytes, 0 when there is no room now.

        :raise OSError: the connection broke.
        """
        try:
            return self._send(data)
        except BlockingIOError:
            return 0

    def write_all(self, pieces: list[memoryview]) -> int:
        """As :meth:`write`, for several pieces in one call."""
        try:
            return self._socket.sendmsg(pieces)
        except BlockingIOError:
            return 0

    def make_far(self, sending: int, receiving: int) -> None:
        """Let so many bytes be on their way to a far end, and from there."""
        make_far(self._socket, sending, receiving)

    @property
    def most_on_their_way(self) -> tuple[int, int] | None:
        """Bytes that TCP's buffers at this end, and at the other, let be on their way; None if unknown."""
        return most_on_their_way(self._socket)

    def write_end(self) -> None:
        """Send the end of the stream; reading goes on."""
        with contextlib.suppress(OSError):  # the connection is gone; the next read reports it
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close at once, without a call to the user."""
        if not self.closed:
            self.detach().close()

    def tear(self) -> None:
        """As :meth:`close`; but a TCP connection is reset, so that the other end does not take this for the end of a stream."""
        if not self.closed:
            if self._socket.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.close()

    def close_gently(self, seconds: float = FAREWELL) -> None:
        """
        Close, but let the last data arrive, such as a TLS alert with the reason.

        A socket that is closed with unread bytes resets the connection, and the peer loses the data before the reset. So it is only shut
        down, and read until the peer closes too, for at most ``seconds``.
        """
        if not self.closed:
            sock = self.detach()
            if len(_LingeringClose.lasting) < MAX_LINGERING:
                _LingeringClose(self.selector, sock, seconds)
            else:
                sock.close()

    def detach(self) -> socket.socket:
        """Return the socket, without its TLS; this wire is closed."""
        self.listen(False)
        self.want_room(False)
        self.closed = True
        return socket.socket(fileno=self._socket.detach())

    def move(self) -> tuple[socket.socket, LinkState | None]:
        """
        Return the socket and the state of its TLS, for another process; this wire is closed, and the other end notices nothing.

        :raise TunnelError: its TLS cannot be moved, or not now; the wire stays as it is.
        """
        return self.detach(), None

    @property
    def presented(self) -> Presented | None:
        """What the peer has presented in its handshake; None without TLS."""
        return None

    @property
    def in_kernel(self) -> bool:
        """Whether the kernel encrypts the written data."""
        return active(self._socket)

    # Called by the reactor.

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Its name in twistd's log."""
        return "wire"

    def doRead(self) -> None:
        """There is data to read."""
        if self.listening:
            try:
                self.user.wire_readable()
            except OSError as broken:
                self.user.wire_lost(broken)

    def doWrite(self) -> None:
        """There is room to write."""
        if self._wants_room:
            self.want_room(False)
            self._let(self.user.wire_writable)

    def connectionLost(self, reason: Failure) -> None:
        """The descriptor broke, or the reactor is stopping; the reactor no longer watches it."""
        self.listening = self._wants_room = False
        if not self.closed:
            self.user.wire_lost(reason.value if isinstance(reason.value, Exception) else CONNECTION_LOST)

    def _let(self, act: Any) -> None:
        if self.closed:
            return  # by the first of two calls in a row: readable, then writable
        try:
            act()
        except OSError as broken:
            self.user.wire_lost(broken)


class BufferedWire(Wire):
    """A wire that may hold bytes for its user that its descriptor does not show."""

    @property
    def pending(self) -> bool:
        """Whether it holds such bytes."""
        raise NotImplementedError

    def listen(self, on: bool) -> None:
        """See :meth:`Wire.listen`."""
        super().listen(on)
        self._read_pending()

    def doRead(self) -> None:
        """There is data to read."""
        super().doRead()
        self._read_pending()

    def _read_pending(self) -> None:
        if self.listening and not self.closed and self.pending:
            self.selector.read_again(self)


class _LingeringClose:
    """Keeps a shut-down socket until its peer has read to the end."""

    lasting: ClassVar[WeakSet[_LingeringClose]] = WeakSet()

    def __init__(self, selector: WireSelector, sock: socket.socket, seconds: float) -> None:
        self._wire = Wire(selector, sock, self)
        self._wire.write_end()
        self._wire.listen(True)
        self._deadline = selector.reactor.callLater(seconds, self._over)
        self.lasting.add(self)

    def wire_readable(self) -> None:
        """Discard the data."""
        if self._wire.read_into(memoryview(bytearray(65536))) == 0:
            self.wire_lost(ConnectionError("the end"))

    def wire_writable(self) -> None:
        """Nothing is written any more."""

    def wire_lost(self, reason: Exception) -> None:
        """The peer has closed too."""
        if self._deadline.active():
            self._deadline.cancel()
        self._over()

    def _over(self) -> None:
        self.lasting.discard(self)
        self._wire.close()
