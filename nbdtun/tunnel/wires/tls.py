"""
TLS wires: a socket under TLS with the standard library's ``ssl``, on the socket itself, without a memory BIO between it and OpenSSL.

OpenSSL may need a writable socket to read, and a readable one to write. The wire handles that; its user does not see it.
"""

from __future__ import annotations

import socket
import ssl

from nbdtun.errors import TLSError
from nbdtun.tls.failures import is_end
from nbdtun.tls.presented import Presented
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.wires.plain import BufferedWire, WireUser
from nbdtun.tunnel.wires.selector import WireSelector


class TLSWire(BufferedWire):
    """
    A socket under TLS. Its user is not called until the handshake is done, and then :meth:`WireUser.wire_writable` once.

    OpenSSL requires that a write without room is repeated with the same bytes: after 0 from :meth:`write`, try the same data again.
    """

    plain = False
    rekeys = False  # Python's ssl cannot send a KeyUpdate

    def __init__(self, selector: WireSelector, sock: ssl.SSLSocket, user: WireUser) -> None:
        super().__init__(selector, sock, user)
        self.tls = sock
        self._shaking = True
        self._presented: Presented | None = None
        self._read_wants_room = False
        self._write_wants_data = False

    @property
    def presented(self) -> Presented | None:
        """What the peer has presented in its handshake."""
        return self._presented

    @property
    def pending(self) -> bool:
        """Whether OpenSSL holds the rest of a partly read record."""
        return bool(self.tls.pending())

    def read_into(self, buffer: memoryview) -> int | None:
        """See :meth:`Wire.read_into`; fills the buffer from as many TLS records as have arrived."""
        filled = 0
        while filled < len(buffer):
            try:
                count = self._read_some(buffer[filled:])
            except OSError:
                if not filled:
                    raise
                break
            if not count:
                return filled or count
            filled += count
        return filled

    def _read_some(self, buffer: memoryview) -> int | None:
        try:
            return self.tls.read(len(buffer), buffer)  # type: ignore[return-value]  # with a buffer, a count
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._read_wants_room = True
            self.want_room()
            return None
        except OSError as broken:
            if is_end(broken):  # even without close_notify: an end here only means a lost link, so it needs no proof
                return 0
            raise

    def write(self, data: memoryview) -> int:
        """See :meth:`Wire.write`."""
        try:
            return self.tls.send(data)
        except ssl.SSLWantWriteError:
            return 0
        except ssl.SSLWantReadError:
            self._write_wants_data = True
            return 0
        except ssl.SSLError as end:
            if is_end(end):
                raise ConnectionResetError("the other end closed the connection") from end
            raise

    def move(self) -> tuple[socket.socket, LinkState | None]:
        """See :meth:`Wire.move`: never."""
        raise TLSError("a connection whose records OpenSSL makes stays in its process", "use --records batched")

    def doRead(self) -> None:
        """There is data to read: for the handshake, for a write that needs it, or for the user."""
        if self._shaking:
            self._let(self._handshake)
            return
        super().doRead()
        if self._write_wants_data and not self.closed:
            self._write_wants_data = False
            super().doWrite()

    def doWrite(self) -> None:
        """There is room to write: for the handshake, for a read that needs it, or for the user."""
        if self._shaking:
            self.want_room(False)
            self._let(self._handshake)
            return
        super().doWrite()
        if self._read_wants_room and not self.closed:
            self._read_wants_room = False
            super().doRead()

    def _handshake(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self.want_room()
            return
        self._shaking = False
        self._presented = Presented.of(self.tls)  # now: a connection that failed later has none
        self.user.wire_writable()
