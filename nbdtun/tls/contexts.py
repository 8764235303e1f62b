"""
Mutual TLS 1.3: contexts from a directory with QEMU's file names, and sockets wrapped with them.

The byte path uses the standard library's ``ssl`` on the real socket: half the cost of Twisted's memory BIO. A socket is wrapped so that a
broken connection never looks like a clean end. ``files`` loads the certificates, ``failures`` explains errors.

These settings differ from the defaults, or must not depend on them:

- TLS 1.3 only, and both ends must present a certificate that the directory's CA has signed; the client verifies the server's name;
- ``OP_IGNORE_UNEXPECTED_EOF`` is cleared (an ``openssl.cnf`` may have set it): with it, a cut cable reads like a clean end;
- session tickets are off: every link does a full handshake; a ticket would be one more secret and one more message;
- a certificate in ``ca-cert.pem`` is trusted even if it is not self-signed, as in GnuTLS, so that QEMU's and libvirt's directories mean
  the same here; ``revocation`` reads ``ca-crl.pem`` as GnuTLS does, which OpenSSL would not;
- the server's name is verified in its subjectAltName only: no name constraint of a CA holds for a common name;
- ALPN, so that a connection cannot be redirected to or from another service with the same certificates;
- AES-128-GCM first, where Python can set it (3.15); kernel TLS, where OpenSSL (3.0) and the kernel support it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import ssl
from socket import socket
from typing import Final

from nbdtun.errors import ConfigError, TLSError
from nbdtun.tls import ktls
from nbdtun.tls.files import Authorities, Identity
from nbdtun.tls.presented import PROTOCOL
from nbdtun.tls.store import CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY, Store

CIPHERSUITES: Final = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_IGNORE_EOF: Final = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0x80)


def server_context(directory: str | os.PathLike[str] | Store) -> ssl.SSLContext:
    """
    The destination's side: ``server-cert.pem`` and ``server-key.pem``; clients need a certificate of ``ca-cert.pem``.

    :raise ConfigError: a file is missing, unreadable, not what its name says, or expired; the text names it.
    """
    store = Store.of(directory)
    return make_context(Authorities.read(store), Identity.read(store, SERVER_CERT, SERVER_KEY), server=True)


def client_context(directory: str | os.PathLike[str] | Store) -> ssl.SSLContext:
    """
    The source's side: ``client-cert.pem`` and ``client-key.pem``; the server needs a certificate of ``ca-cert.pem`` for its name.

    :raise ConfigError: a file is missing, unreadable, not what its name says, or expired; the text names it.
    """
    store = Store.of(directory)
    return make_context(Authorities.read(store), Identity.read(store, CLIENT_CERT, CLIENT_KEY), server=False)


def make_context(authorities: Authorities, identity: Identity, *, server: bool) -> ssl.SSLContext:
    """Return the context of a server, or of a client, with what was read from files."""
    if server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname are on
        context.hostname_checks_common_name = False
    harden(context)
    authorities.load(context)
    identity.load(context)
    return context


def harden(context: ssl.SSLContext) -> None:
    """Set what every context of ours has in common: see above."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options &= ~_IGNORE_EOF
    context.options |= ssl.OP_NO_COMPRESSION | ktls.OPTION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols([PROTOCOL])
    if hasattr(context, "set_ciphersuites"):
        context.set_ciphersuites(CIPHERSUITES)


def wrap_server(context: ssl.SSLContext, sock: socket) -> ssl.SSLSocket:
    """Wrap an accepted socket; the caller drives ``do_handshake()``."""
    return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)


def wrap_client(context: ssl.SSLContext, sock: socket, name: str) -> ssl.SSLSocket:
    """
    Wrap a connected socket; the caller drives ``do_handshake()``, which fails unless the server's certificate is for ``name``.

    :raise ConfigError: ``name`` is neither a host name nor an address.
    """
    name = verify_name(name)
    return context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False)


def verify_name(host: str) -> str:
    """
    ``host`` in the form that ``ssl`` verifies: an address without brackets and zone, or a name in ASCII without its final dot.

    :raise ConfigError: it is neither.
    """
    try:
        return str(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        pass
    try:
        name = host.rstrip(".").encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ConfigError(f"{host!r} is not a name that a certificate can be verified for") from error
    if not name or name.startswith(".") or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ConfigError(f"{host!r} is not a name that a certificate can be verified for")
    return name


def fingerprint(peer: ssl.SSLSocket | bytes) -> str:
    """
    The SHA-256 of a peer's certificate (or of one in DER), in hexadecimal. Only a peer with the same one may resume its channels.

    :raise TLSError: the peer presented no certificate.
    """
    der = peer if isinstance(peer, bytes) else peer.getpeercert(binary_form=True)
    if not der:
        raise TLSError("the peer presented no certificate")
    return hashlib.sha256(der).hexdigest()
