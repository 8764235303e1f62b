"""
Handshakes: OpenSSL does them, in memory. Afterwards both directions' secrets are ours, and so are the records.

The end of a handshake is a clean cut: no record was yet sealed or opened under the application's keys, because a destination sends no
tickets (``num_tickets``). The bytes that have arrived beyond it are still in OpenSSL's input, unread. A foreign server may send tickets;
they come later, as records.
"""

from __future__ import annotations

import ssl

from attrs import frozen

from nbdtun.tls.contexts import verify_name
from nbdtun.tls.keylog import CLIENT, SERVER, KeyLog
from nbdtun.tls.presented import Presented
from nbdtun.tls.records.protection import Opener, Sealer
from nbdtun.tls.records.suites import suite


@frozen
class Shaken:
    """The result: both directions' records, what the peer has presented, and the bytes that have arrived beyond the handshake."""

    sealer: Sealer
    opener: Opener
    presented: Presented
    rest: bytes


class Handshake:
    """
    One handshake under ``context``: as a client that verifies ``name``, or as a server (None).

    :raise TLSError: records cannot be batched here.
    """

    def __init__(self, context: ssl.SSLContext, name: str | None) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = name is not None
        host = verify_name(name) if name is not None else None
        self._log = KeyLog.of(context)
        self._secrets: dict[str, bytearray] = {}
        self.tls = context.wrap_bio(self._in, self._out, server_side=host is None, server_hostname=host)

    def __repr__(self) -> str:
        return f"<Handshake of a {'client' if self._client else 'server'}>"

    def feed(self, data: bytes | memoryview) -> None:
        """Bytes arrived; none is the end."""
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def step(self) -> bool:
        """
        Go on; returns whether it is done. Either way, and after an error too, :meth:`outgoing` is to be sent.

        :raise OSError: it failed.
        """
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._secrets.update(self._log.take())
        return True

    def outgoing(self) -> bytes:
        """Return the bytes that are to be sent now."""
        return self._out.read()

    def result(self) -> Shaken:
        """
        Return what it has come to, once it is done.

        :raise TLSError: the ends have agreed on a cipher suite that only OpenSSL serves.
        """
        cipher = self.tls.cipher()
        assert cipher is not None
        agreed = suite(cipher[0])
        ours, theirs = (CLIENT, SERVER) if self._client else (SERVER, CLIENT)
        sealer, opener = Sealer(agreed, self._secrets[ours]), Opener(agreed, self._secrets[theirs])
        for secret in self._secrets.values():
            secret[:] = bytes(len(secret))
        return Shaken(sealer, opener, Presented.of(self.tls), self._in.read())
