"""A connection: plain, or with TLS 1.3 of Python's `ssl`."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

PROTOCOL = "nbdtun/1"
LINK_TIMEOUT = 15.0


class Lost(Exception):
    """The connection has ended, is broken, or was silent for too long."""


class Wire:
    """Bytes to and from the other end. One thread may read while others send."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        sock.settimeout(timeout)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._read = bytearray()
        self._left: dict[str, int] = {}

    identity = b""
    """The certificate of the other end, as a digest."""

    @property
    def pending(self) -> int:
        """The bytes that have come and were not taken yet."""
        return len(self._read)

    def patience(self, seconds: float = LINK_TIMEOUT) -> None:
        """It may be silent for so long."""
        with suppress(OSError):  # it may be closed
            self._socket.settimeout(seconds)

    def cut_after(self, count: int, way: str) -> None:
        """Break it when so many more bytes have gone that `way`: "up" is what is sent here, "down" what is received."""
        self._left[way] = count
        if count == 0:
            self.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        try:
            self._socket.sendall(data[: self._left.get("up")])
        except OSError as error:
            raise Lost(str(error)) from None
        self._passed("up", len(data))

    def exactly(self, count: int) -> bytes:
        """The next bytes, all of them."""
        while len(self._read) < count:
            self._more()
        taken = bytes(self._read[:count])
        del self._read[:count]
        return taken

    def some(self, most: int) -> bytes:
        """The next bytes, at least one."""
        if not self._read:
            self._more()
        return self.exactly(min(most, len(self._read)))

    def close(self) -> None:
        """No thread waits for it any longer."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def finish(self) -> None:
        """Close it so that what was sent arrives: nothing is sent any more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _more(self) -> None:
        try:
            data = self._socket.recv(min(1 << 18, self._left.get("down", 1 << 18)))
        except (OSError, ValueError) as error:
            raise Lost(str(error)) from None
        if not data:
            raise Lost("it was closed")
        self._received(data)
        self._passed("down", len(data))

    def _passed(self, way: str, count: int) -> None:
        if way in self._left:
            self._left[way] = max(0, self._left[way] - count)
            if not self._left[way]:
                self.close()

    def _received(self, data: bytes) -> None:
        self._read += data


class Secure(Wire):
    """The same within TLS. What OpenSSL has to say by itself goes ahead of the next data."""

    def __init__(self, sock: socket.socket, timeout: float, context: ssl.SSLContext, name: str | None) -> None:
        super().__init__(sock, timeout)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=name is None, server_hostname=name)
        self._guard, self._order = threading.Lock(), threading.Lock()
        try:
            self._shake()
        except ssl.SSLError as error:
            self.close()
            raise Lost(f"TLS: {error}") from None

    def send(self, data: bytes) -> None:
        with self._order:
            with self._guard:
                self._tls.write(data)
                sealed = self._out.read()
            super().send(sealed)

    def _shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                super().send(self._out.read())
                self._more(raw=True)
                continue
            finally:
                if self._out.pending:
                    super().send(self._out.read())
            break
        if self._tls.selected_alpn_protocol() not in (PROTOCOL, None):
            raise Lost(f"the other end does not speak {PROTOCOL}")
        self.identity = hashlib.sha256(self._tls.getpeercert(binary_form=True) or b"").digest()
        self._received(b"")  # what came with the handshake's end

    def _more(self, raw: bool = False) -> None:
        super()._more()
        while not raw and not self._read:
            super()._more()

    def _received(self, data: bytes) -> None:
        with self._guard:
            self._in.write(data)
            if self.identity:
                self._unseal()

    def _unseal(self) -> None:
        try:
            while data := self._tls.read(1 << 18):
                self._read += data
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise Lost(f"TLS: {error}") from None


def client(directory: Path) -> ssl.SSLContext:
    """The source's context, of the directory that `nbdtun certs` has filled."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, directory, "client")


def server(directory: Path) -> ssl.SSLContext:
    """The destination's."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, directory, "server")
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    return context


def _context(protocol: int, directory: Path, end: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(directory / "ca-cert.pem")
    context.load_cert_chain(directory / f"{end}-cert.pem", directory / f"{end}-key.pem")
    context.set_alpn_protocols([PROTOCOL])
    return context
