"""What the other end has presented in a handshake that OpenSSL accepts: its certificate, the chain to a CA of ours, its protocol."""

from __future__ import annotations

import ssl
from typing import Any, Final

from attrs import frozen

#: The one protocol that we speak, in ALPN (RFC 7301). The certificates of a PKI often serve other services too, to which an attacker could
#: redirect a connection.
PROTOCOL: Final = "nbdtun/1"


@frozen
class Presented:
    """``chain`` is the verified one, in DER, from the peer's own certificate up; ``protocol`` is what ALPN has agreed on, if anything."""

    chain: tuple[bytes, ...]
    protocol: str | None

    @property
    def certificate(self) -> bytes:
        """The peer's own, in DER."""
        return self.chain[0]

    @classmethod
    def of(cls, sock: ssl.SSLSocket | ssl.SSLObject) -> Presented:
        """Return it after the handshake of ``sock``."""
        chain: Any = getattr(sock, "get_verified_chain", None) or getattr(sock, "_sslobj").get_verified_chain  # noqa: B009  # before 3.13
        found = tuple(each if isinstance(each, bytes) else ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain())
        return cls(found, sock.selected_alpn_protocol())
