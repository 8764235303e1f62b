"""
TLS below another protocol, by OpenSSL in memory: for a connection that carries some messages. Twisted's own TLS needs another package.

Links do not use it: see :mod:`nbdtun.tunnel.wires`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun.errors import LinkLost, TLSError

_PIECE = 16 * 1024


class Secured(Protocol):
    """
    A connection under ``context``, of a client or a ``server``. When hands were shaken, ``inner`` is connected, and ``shaken`` fires with
    the certificate of the other end, in DER; or with why that failed.
    """

    def __init__(self, context: ssl.SSLContext, inner: IProtocol, *, server: bool) -> None:
        self.shaken: Deferred[bytes] = Deferred()
        self.inner = inner
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server)
        self._open = False
        self.wants_certificate = False  #: the other end takes only those who show one

    def __repr__(self) -> str:
        return f"<Secured {self.inner!r} {'open' if self._open else 'not open'}>"

    def connectionMade(self) -> None:
        """Begin to shake hands."""
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        """Bytes arrived."""
        self._in.write(data)
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended, before or after hands were shaken."""
        if self._open:
            self.inner.connectionLost(reason)
        elif not self.shaken.called:
            self.shaken.errback(LinkLost("the connection ended before hands were shaken"))

    def _go_on(self) -> None:
        try:
            if not self._open:
                self._tls.do_handshake()
                self._open = True
                self._flush()
                self.inner.makeConnection(self)  # type: ignore[arg-type]
                self.shaken.callback(self._tls.getpeercert(binary_form=True) or b"")
            while data := self._tls.read(_PIECE):
                self.inner.dataReceived(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._flush()
            self._refused(error)
            return
        self._flush()

    def _refused(self, error: ssl.SSLError) -> None:
        self.wants_certificate = "CERTIFICATE_REQUIRED" in (error.reason or "")
        if not self.shaken.called:
            self.shaken.errback(TLSError(f"no TLS with the other end: {(error.reason or str(error)).replace('_', ' ').lower()}"))
        self.loseConnection()

    def _flush(self) -> None:
        if self.transport is not None and (data := self._out.read()):
            self.transport.write(data)

    # The transport of the inner protocol.

    disconnecting = False

    def write(self, data: bytes) -> None:
        """Send."""
        self._tls.write(data)
        self._flush()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of it."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """End the connection, once all was sent."""
        if self.transport is not None:
            self.transport.loseConnection()

    def abortConnection(self) -> None:
        """End it at once."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def getPeer(self) -> IAddress:
        """The address of the other end."""
        assert self.transport is not None
        return self.transport.getPeer()

    def getHost(self) -> IAddress:
        """Our own address."""
        assert self.transport is not None
        return self.transport.getHost()
