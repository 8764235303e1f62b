"""
Certificates for one migration: each end makes a key and a certificate, tells the other the latter, and accepts that one and no other.

There is no authority. Each certificate vouches for itself alone, so it is trusted as it is, and cannot have signed another one. A context
is made for one peer. Certificates have no dates to speak of, because two hosts' clocks may differ: an end forgets its key with its process.

Nothing touches a disk. OpenSSL loads a key from a file, which is one without a name, in memory (memfd_create(2)).
"""

from __future__ import annotations

import datetime
import os
import secrets
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nbdtun.errors import TLSError
from nbdtun.tls.certificate import Kind, Name
from nbdtun.tls.contexts import harden

#: The name of each source. What it has begun is its own by a secret, and may be settled by another process of the same user.
SOURCE: Final = "source.nbdtun"
#: The same, as the names of other certificates are compared.
SOURCE_IDENTITY: Final = Name(Kind.DNS, SOURCE).identity

_EVER: Final = datetime.timedelta(days=3650)


@frozen
class Identity:
    """A key with its certificate (in DER), in which ``name`` stands."""

    name: str
    certificate: bytes
    _pem: bytes = field(repr=False)

    @classmethod
    def make(cls, name: str = "") -> Identity:
        """Make one, with a new key, called ``name`` or at random."""
        name = name or f"{secrets.token_hex(8)}.nbdtun"
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        der = certificate.public_bytes(serialization.Encoding.DER)
        return cls(name, der, private + certificate.public_bytes(serialization.Encoding.PEM))

    def serving(self, *peers: bytes) -> ssl.SSLContext:
        """
        Make the context of a server for the clients whose certificates (in DER) are ``peers``, and no others.

        :raise TLSError: one of them is not a certificate, or no file in memory can be made.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0
        return self._made(context, peers)

    def introducing(self) -> ssl.SSLContext:
        """
        Make the context of a server for any client, which shows no certificate: for the first connection, which another secret protects.

        :raise TLSError: no file in memory can be made.
        """
        context = self._made(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), [self.certificate])
        context.num_tickets = 0
        return context

    def asking(self, peer: bytes) -> ssl.SSLContext:
        """
        Make the context of a client for the one server whose certificate (in DER) is ``peer``.

        :raise TLSError: ``peer`` is not a certificate, or no file in memory can be made.
        """
        return self._made(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), [peer])  # CERT_REQUIRED and check_hostname are on

    def _made(self, context: ssl.SSLContext, peers: Sequence[bytes]) -> ssl.SSLContext:
        harden(context)
        try:
            with _in_memory(self._pem) as path:
                context.load_cert_chain(path)
            for peer in peers:
                context.load_verify_locations(cadata=peer)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise TLSError(f"a certificate for one migration cannot be used: {getattr(error, 'reason', None) or error}") from error
        return context


def _certificate(name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EVER)
        .not_valid_after(now + _EVER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a file with ``content`` that is on no disk; it is wiped afterwards."""
    file = os.memfd_create("nbdtun")
    try:
        os.write(file, content)
        yield f"/proc/self/fd/{file}"
    finally:
        os.pwrite(file, bytes(len(content)), 0)
        os.close(file)
