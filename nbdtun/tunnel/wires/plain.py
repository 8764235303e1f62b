"""
Wires: one connected, non-blocking socket on the reactor, read into and written from buffers of its user.

Twisted's own transports copy each byte several times and cost twice what the system calls do; endpoints, factories and services stay
Twisted's, only the bytes take this way. All that is asked of the reactor is ``addReader`` and ``addWriter``, so any reactor does.

``tls_wire`` and ``sealed_wire`` have those that encrypt.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, ClassVar, Protocol
from weakref import WeakSet

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.tls.ktls import active
from nbdtun.tunnel.wires.selector import WireSelector

#: Seconds for the other end to hear the last word.
FAREWELL = 2.0

#: Last words that are waited for at one time: whoever makes himself be refused again and again is not worth a descriptor for each time.
MAX_LINGERING = 128


class WireUser(Protocol):
    """Who uses a wire; what it is told, it is told by the reactor, never from within its own call."""

    def wire_readable(self) -> None:
        """There is something to read, or the end."""

    def wire_writable(self) -> None:
        """There is room again; only after :meth:`Wire.want_room`."""

    def wire_lost(self, reason: Exception) -> None:
        """The wire broke. What came before can still be read; the user closes it."""


@implementer(IReadWriteDescriptor)
class Wire:
    """A plain socket."""

    #: Whether what is in the socket is what its user reads.
    plain = True

    #: Bytes that have come and that its user has not heard of, since they make no whole yet; the user sets it to 0.
    partial = 0

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

    # What its user does.

    def listen(self, on: bool) -> None:
        """Tell the user, or do not, when there is something to read."""
        if on == self.listening or self.closed:
            return
        self.listening = on
        if on:
            self.selector.addReader(self)
        else:
            self.selector.removeReader(self)

    def want_room(self, on: bool = True) -> None:
        """Tell the user once when there is room to write."""
        if on == self._wants_room or self.closed:
            return
        self._wants_room = on
        if on:
            self.selector.addWriter(self)
        else:
            self.selector.removeWriter(self)

    def read_into(self, buffer: memoryview) -> int | None:
        """
        Fill ``buffer`` with what is there; return the count of bytes, 0 at the end, None when nothing is there now.

        :raise OSError: the connection broke.
        """
        try:
            return self._receive(buffer)
        except BlockingIOError:
            return None

    def read_record(self, buffer: memoryview) -> int | None:
        """As :meth:`read_into`, but no further than to the end of a record of TLS: what comes behind it may be something else."""
        return self.read_into(buffer)

    def write(self, data: memoryview) -> int:
        """
        Write what fits of ``data`` and return the count of bytes, 0 when there is no room now.

        :raise OSError: the connection broke.
        """
        try:
            return self._send(data)
        except BlockingIOError:
            return 0

    def write_all(self, pieces: list[memoryview]) -> int:
        """As :meth:`write`, of several pieces in one go."""
        try:
            return self._socket.sendmsg(pieces)
        except BlockingIOError:
            return 0

    def write_end(self) -> None:
        """Tell the other side that nothing more comes; reading goes on."""
        with contextlib.suppress(OSError):  # it is gone altogether, which the next read tells
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close at once. Nobody is told."""
        if not self.closed:
            self.detach().close()

    def close_gently(self, seconds: float = FAREWELL) -> None:
        """
        Close, but let what was written last arrive: a TLS alert, say, which tells the peer why.

        A socket that is closed while bytes wait in it unread resets the connection, and the peer never sees what came before. So it is
        only shut down, and read from until the peer closes too, for at most ``seconds``.
        """
        if not self.closed:
            sock = self.detach()
            if len(_LingeringClose.lasting) < MAX_LINGERING:
                _LingeringClose(self.selector, sock, seconds)
            else:
                sock.close()

    def detach(self) -> socket.socket:
        """Give the socket away, without any TLS that it had; this wire is closed."""
        self.listen(False)
        self.want_room(False)
        self.closed = True
        return socket.socket(fileno=self._socket.detach())

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate that the peer proved to own, in DER; None without TLS."""
        return None

    @property
    def in_kernel(self) -> bool:
        """Whether the kernel encrypts what is written."""
        return active(self._socket)

    # What the reactor does.

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """How twistd's log names it."""
        return "wire"

    def doRead(self) -> None:
        """There is something to read."""
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
        """The reactor found the descriptor broken, or is stopping; it watches it no more."""
        self.listening = self._wants_room = False
        if not self.closed:
            self.user.wire_lost(reason.value if isinstance(reason.value, Exception) else CONNECTION_LOST)

    def _let(self, act: Any) -> None:
        if self.closed:
            return  # by the first of two things that the reactor tells in a row: it can be read, it can be written
        try:
            act()
        except OSError as broken:
            self.user.wire_lost(broken)


class BufferedWire(Wire):
    """A wire that can have bytes for its user which no descriptor shows; a subclass says when."""

    @property
    def pending(self) -> bool:
        """Whether there are any."""
        raise NotImplementedError

    def listen(self, on: bool) -> None:
        """See :meth:`Wire.listen`."""
        super().listen(on)
        self._read_pending()

    def doRead(self) -> None:
        """There is something to read."""
        super().doRead()
        self._read_pending()

    def _read_pending(self) -> None:
        if self.listening and not self.closed and self.pending:
            self.selector.read_again(self)


class _LingeringClose:
    """Keeps a socket that has been shut down until its peer has read to the end."""

    lasting: ClassVar[WeakSet[_LingeringClose]] = WeakSet()

    def __init__(self, selector: WireSelector, sock: socket.socket, seconds: float) -> None:
        self._wire = Wire(selector, sock, self)
        self._wire.write_end()
        self._wire.listen(True)
        self._deadline = selector.reactor.callLater(seconds, self._over)
        self.lasting.add(self)

    def wire_readable(self) -> None:
        """Nobody wants it."""
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
