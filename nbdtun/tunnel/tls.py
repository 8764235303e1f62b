"""
Mutual TLS 1.3 from a directory with QEMU's file names, and one line for each way in which it can fail.

The byte path speaks TLS by the standard library's ``ssl`` on the real socket: half the cost of Twisted's memory BIO. So this module
makes ``ssl.SSLContext`` objects, wraps sockets so that a torn connection is never taken for an end, and explains failures.
Why the explaining takes half of it: in TLS 1.3 the client has finished its handshake *before* the server has looked at its
certificate; a refusal reaches it as an alert out of its first ``recv``, in words like ``SSLV3_ALERT_BAD_CERTIFICATE``.
:func:`explain` serves the errors of handshakes, reads and writes, at both ends.

What is not left to defaults:

- TLS 1.3 only, and both ends must present a certificate that the directory's CA has signed; the client verifies the server's name;
- ``OP_IGNORE_UNEXPECTED_EOF`` is cleared, whoever may have set it (an ``openssl.cnf`` can): with it, a cut cable reads like a clean end;
- session tickets are off: every link does a full handshake, and a ticket would be one more secret and one more message;
- a certificate in ``ca-cert.pem`` is trusted even if it is not self-signed, as GnuTLS has it, so QEMU's and libvirt's directories mean
  here what they mean there; so does ``ca-crl.pem``, if there is one;
- AES-128-GCM first, where Python can say so (3.15); kernel TLS, where OpenSSL (3.0) and the kernel have it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import ssl
import time
from pathlib import Path
from socket import socket
from typing import Any, Final

from nbdtun.errors import ConfigError, TLSError, printable
from nbdtun.tunnel import ktls
from nbdtun.tunnel.certificate import Kind, names_of
from nbdtun.tunnel.validity import date, validity

CA_CERT, CA_KEY, CA_CRL = "ca-cert.pem", "ca-key.pem", "ca-crl.pem"
SERVER_CERT, SERVER_KEY = "server-cert.pem", "server-key.pem"
CLIENT_CERT, CLIENT_KEY = "client-cert.pem", "client-key.pem"

CIPHERSUITES: Final = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_IGNORE_EOF: Final = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0x80)


def server_context(directory: str | os.PathLike[str]) -> ssl.SSLContext:
    """
    The destination's side: ``server-cert.pem`` and ``server-key.pem``; clients need a certificate of ``ca-cert.pem``.

    :raise ConfigError: a file is missing, unreadable, not what its name says, or expired; the text names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    _equip(context, Path(directory), SERVER_CERT, SERVER_KEY)
    return context


def client_context(directory: str | os.PathLike[str]) -> ssl.SSLContext:
    """
    The source's side: ``client-cert.pem`` and ``client-key.pem``; the server needs a certificate of ``ca-cert.pem`` for its name.

    :raise ConfigError: a file is missing, unreadable, not what its name says, or expired; the text names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname are on
    _equip(context, Path(directory), CLIENT_CERT, CLIENT_KEY)
    return context


def wrap_server(context: ssl.SSLContext, sock: socket) -> ssl.SSLSocket:
    """Take over an accepted socket; the caller drives ``do_handshake()``."""
    return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)


def wrap_client(context: ssl.SSLContext, sock: socket, name: str) -> ssl.SSLSocket:
    """
    Take over a connected socket; the caller drives ``do_handshake()``, which fails unless the server's certificate is for ``name``.

    :raise ConfigError: ``name`` is neither a host name nor an address.
    """
    name = verify_name(name)
    return context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False)


def verify_name(host: str) -> str:
    """
    ``host`` as ``ssl`` wants the name to verify: an address without brackets and zone, or a name in ASCII without its final dot.

    :raise ConfigError: it is neither.
    """
    try:
        return str(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        pass
    try:
        name = host.rstrip(".").encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ConfigError(f"{host!r} is not a name that a certificate can be verified for: {error}") from error
    if not name or name.startswith(".") or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ConfigError(f"{host!r} is not a name that a certificate can be verified for")
    return name


def fingerprint(peer: ssl.SSLSocket | bytes) -> str:
    """
    The SHA-256 of a peer's certificate (or of one in DER), in hexadecimal: who may resume what this peer has opened.

    :raise TLSError: the peer has presented none.
    """
    der = peer if isinstance(peer, bytes) else peer.getpeercert(binary_form=True)
    if not der:
        raise TLSError("the peer presented no certificate")
    return hashlib.sha256(der).hexdigest()


# Loading. Every file is read once before OpenSSL sees it, because OpenSSL's errors do not say which file they are about.


def _equip(context: ssl.SSLContext, directory: Path, certificate: str, key: str) -> None:
    _harden(context)
    if not directory.is_dir():
        raise ConfigError(f"{directory}: {'Not a directory' if directory.exists() else 'No such file or directory'}")
    _trust(context, directory / CA_CERT)
    if (directory / CA_CRL).exists():
        _heed_revocations(context, directory / CA_CRL)
    _present(context, directory / certificate, directory / key)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options &= ~_IGNORE_EOF
    context.options |= ssl.OP_NO_COMPRESSION | ktls.OPTION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if hasattr(context, "set_ciphersuites"):
        context.set_ciphersuites(CIPHERSUITES)


def _trust(context: ssl.SSLContext, path: Path) -> None:
    _read_pem(path, "CERTIFICATE-----", "certificate")
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ConfigError(f"{path}: damaged certificate ({_reason(error)})") from error
    authorities = context.get_ca_certs()
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in authorities]
    if ends and max(ends) <= time.time():
        raise ConfigError(f"{path}: expired on {date(max(ends))}")


def _heed_revocations(context: ssl.SSLContext, path: Path) -> None:
    _read_pem(path, "X509 CRL-----", "revocation list")
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ConfigError(f"{path}: damaged revocation list ({_reason(error)})") from error
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _present(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    pem = _read_pem(certificate, "CERTIFICATE-----", "certificate")
    _read_pem(key, "PRIVATE KEY-----", "private key")

    def no_passphrase() -> str:
        raise ConfigError(f"{key}: is protected by a passphrase; a daemon cannot ask for it")

    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as error:
        raise ConfigError(_unusable_pair(certificate, key, error)) from error
    _refuse_outdated(certificate, pem)


def _unusable_pair(certificate: Path, key: Path, error: ssl.SSLError) -> str:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # the last: one is RSA, the other EC
        return f"{key}: is not the key of {certificate}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=certificate)
    except ssl.SSLError as damage:
        return f"{certificate}: damaged certificate ({_reason(damage)})"
    if error.reason and error.reason.startswith("EE_"):  # EE_KEY_TOO_SMALL: what the certificate certifies is too weak
        return f"{certificate}: refused by OpenSSL ({_reason(error)})"
    return f"{key}: damaged private key ({_reason(error)})"


def _read_pem(path: Path, marker: str, noun: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if b"-----BEGIN " not in content or marker.encode() not in content:
        raise ConfigError(f"{path}: not a PEM {noun}")
    return content


def _refuse_outdated(path: Path, pem: bytes) -> None:
    """Tell the operator now what every peer would say later."""
    found = validity(pem)
    if found is not None:
        found.check(path)


def _name(error: ssl.SSLError) -> str:
    """OpenSSL's own name for it; not every error has one, and not every one has the attribute."""
    return getattr(error, "reason", None) or ""


def _reason(error: ssl.SSLError) -> str:
    return (_name(error) or str(error)).replace("_", " ").lower()


# Explaining.

_NO_CA = "its certificate is not signed by a CA in our " + CA_CERT
_VERIFY: Final = {
    2: _NO_CA,
    18: _NO_CA,
    19: _NO_CA,
    20: _NO_CA,
    21: _NO_CA,
    7: "its certificate's signature is false: another CA of the same name has signed it",
    9: "its certificate is not valid yet; compare the clocks of both hosts",
    10: "its certificate has expired",
    3: f"our {CA_CRL} has no list for its CA",
    12: f"our {CA_CRL} has expired",
    23: "its certificate has been revoked",
    26: "its certificate was not made for this end (extended key usage: serverAuth for the destination, clientAuth for the source)",
    66: "its certificate's key is too weak",
    67: "its CA's key is too weak",
    68: "its certificate is signed with too weak a digest",
}
_OURS = "it refused our certificate"
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": "it wants a certificate, and we presented none",
    "UNKNOWN_CA": f"{_OURS}, as not signed by a CA in its {CA_CERT}",
    "CERTIFICATE_EXPIRED": f"{_OURS}, as expired by its clock",
    "CERTIFICATE_REVOKED": f"{_OURS}, as revoked",
    "BAD_CERTIFICATE": f"{_OURS}, as for another name or not valid yet; its log says which",
    "UNSUPPORTED_CERTIFICATE": f"{_OURS}, as not made for this end (extended key usage)",
    "CERTIFICATE_UNKNOWN": f"{_OURS}; its log says why",
    "ACCESS_DENIED": f"{_OURS}: access denied",
    "DECRYPT_ERROR": f"{_OURS}, as falsely signed",
    "PROTOCOL_VERSION": "it speaks no TLS 1.3",
    "HANDSHAKE_FAILURE": "it shares no TLS 1.3 cipher or key with us",
    "INSUFFICIENT_SECURITY": "it finds our keys or ciphers too weak",
    "UNRECOGNIZED_NAME": "it does not serve the name that we asked for",
}
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presented no certificate",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS 1.3",
    "WRONG_SSL_VERSION": "it speaks no TLS 1.3",
    "VERSION_TOO_LOW": "it speaks no TLS 1.3",
    "NO_SHARED_CIPHER": "it shares no TLS 1.3 cipher with us",
    "WRONG_VERSION_NUMBER": "it does not speak TLS; is it an nbdtun without --tls-dir, or another service?",
    "HTTP_REQUEST": "it does not speak TLS but HTTP",
    "HTTPS_PROXY_REQUEST": "it does not speak TLS but HTTP",
    "RECORD_LAYER_FAILURE": "it does not speak TLS; is it an nbdtun without --tls-dir, or another service?",
    "PACKET_LENGTH_TOO_LONG": "it does not speak TLS; is it an nbdtun without --tls-dir, or another service?",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "what it sent was changed on its way",
}
_CLOSED = (
    "it closed the connection in the TLS handshake, or right after it; its log may say why, "
    "unless it is an nbdtun without --tls-dir or another service"
)


def explain(error: OSError, peer: str, sock: ssl.SSLSocket | None = None) -> TLSError:
    """
    One line that says why TLS with ``peer`` failed.

    :param error: what ``do_handshake``, or the first ``recv`` or ``send`` after it, has raised.
    :param peer: how the operator knows the other end: an endpoint, or the address that called.
    :param sock: the failed socket, not closed yet; then a wrong name is told with the names that there are.
    """
    return TLSError(f"{peer}: {_explanation(error, sock)}")


#: Python's own reason where the other end has sent something and hung up before the socket was wrapped (ssl.py, SSLSocket._create).
_GONE_BEFORE: Final = "Closed before TLS handshake with data in recv buffer."


def is_end(error: OSError) -> bool:
    """Whether the other end has just closed the connection, properly or not; Python calls that an SSLEOFError only since 3.11.4."""
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return True
    return getattr(error, "reason", None) in ("UNEXPECTED_EOF_WHILE_READING", _GONE_BEFORE)


def _explanation(error: OSError, sock: ssl.SSLSocket | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error, sock)
    if is_end(error) or isinstance(error, ConnectionError):
        return _CLOSED
    if isinstance(error, TimeoutError):
        return "it did not finish the TLS handshake in time; is it another service?"
    if not isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.strerror or error}"
    reason = _name(error)
    alert = reason.partition("_ALERT_")[2]
    if alert:
        return _ALERTS.get(alert, f"it ended the TLS handshake ({_reason(error)})")
    return _REASONS.get(reason, f"TLS failed ({_reason(error)})")


def _verification(error: ssl.SSLCertVerificationError, sock: ssl.SSLSocket | None) -> str:
    if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return _wrong_name(error, sock)
    return _VERIFY.get(error.verify_code, f"its certificate is not accepted: {error.verify_message}")


def _wrong_name(error: ssl.SSLCertVerificationError, sock: ssl.SSLSocket | None) -> str:
    quoted = re.search(r"not valid for '(.*)'", error.verify_message)
    wanted = quoted[1] if quoted else "the name that we asked for"
    presented = names_of(_presented(sock))
    verified = [name for name in presented if name.kind is not Kind.COMMON_NAME] or presented  # what OpenSSL has looked at
    names = ", ".join(printable(name.value, 100) for name in verified[:8])
    return f"its certificate is {f'for {names}, ' if names else ''}not for {wanted} (--tls-name verifies another name)"


def _presented(sock: ssl.SSLSocket | None) -> bytes:
    """
    The certificate that the peer presented, in DER, though the handshake has failed; nothing if it cannot be learned.

    ``getpeercert()`` has none then. The chain is a socket's own method from Python 3.13 on; before, it has to be asked of what the socket
    wraps. Nothing but the text of a message hangs on it.
    """
    try:
        chain: Any = getattr(sock, "get_unverified_chain", None) or getattr(sock, "_sslobj").get_unverified_chain  # noqa: B009
        leaf = chain()[0]
        return leaf if isinstance(leaf, bytes) else ssl.PEM_cert_to_DER_cert(leaf.public_bytes())
    except (AttributeError, TypeError, IndexError, ValueError, ssl.SSLError):
        return b""
