"""
Why TLS with the other end failed: one line for each cause.

A refusal (a certificate, a version, another service) is a TLSError, and the next attempt would end in the same way. A connection that ends,
or whose bytes were altered, is a LinkLost: the network may have done it, and the next attempt may succeed.

In TLS 1.3 the client finishes its handshake *before* the server checks the client's certificate. A refusal reaches the client as an alert
from its first ``recv``, such as ``SSLV3_ALERT_BAD_CERTIFICATE``. :func:`explain` covers the errors of handshakes, reads and writes, at both
ends.
"""

from __future__ import annotations

import re
import ssl
from typing import Any, Final

from nbdtun.errors import LinkLost, TLSError, TunnelError, printable
from nbdtun.tls.certificate import Kind, names_of
from nbdtun.tls.files import in_words
from nbdtun.tls.store import CA_CERT

_NO_CA = "its certificate is not signed by a CA in our " + CA_CERT
_VERIFY: Final = {
    2: _NO_CA,
    18: _NO_CA,
    19: _NO_CA,
    20: _NO_CA,
    21: _NO_CA,
    7: "its certificate's signature is wrong: a different CA of the same name signed it",
    9: "its certificate is not valid yet; compare the clocks of both hosts",
    10: "its certificate has expired",
    26: "its certificate has the wrong extended key usage (the destination needs serverAuth, the source clientAuth)",
    66: "its certificate's key is too weak",
    67: "its CA's key is too weak",
    68: "its certificate's signature digest is too weak",
}
_OURS = "it refused our certificate"
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": "it requires a certificate, and we presented none",
    "UNKNOWN_CA": f"{_OURS}: not signed by a CA in its {CA_CERT}",
    "CERTIFICATE_EXPIRED": f"{_OURS}: expired, by its clock",
    "CERTIFICATE_REVOKED": f"{_OURS}: revoked",
    "BAD_CERTIFICATE": f"{_OURS}: made for another name, or not valid yet; its log says which",
    "UNSUPPORTED_CERTIFICATE": f"{_OURS}: wrong extended key usage",
    "CERTIFICATE_UNKNOWN": f"{_OURS}; its log says why",
    "ACCESS_DENIED": f"{_OURS}: access denied",
    "DECRYPT_ERROR": f"{_OURS}: wrong signature",
    "PROTOCOL_VERSION": "it does not support TLS 1.3",
    "HANDSHAKE_FAILURE": "it has no TLS 1.3 cipher or key type in common with us",
    "INSUFFICIENT_SECURITY": "it rejects our keys or ciphers as too weak",
    "UNRECOGNIZED_NAME": "it does not serve the name that we asked for",
}
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presented no certificate",
    "UNSUPPORTED_PROTOCOL": "it does not support TLS 1.3",
    "WRONG_SSL_VERSION": "it does not support TLS 1.3",
    "VERSION_TOO_LOW": "it does not support TLS 1.3",
    "NO_SHARED_CIPHER": "it has no TLS 1.3 cipher in common with us",
    "WRONG_VERSION_NUMBER": "it does not speak TLS; is it an nbdtun without --tls-dir, or another service?",
    "HTTP_REQUEST": "it speaks HTTP, not TLS",
    "HTTPS_PROXY_REQUEST": "it speaks HTTP, not TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS; is it an nbdtun without --tls-dir, or another service?",
    "PACKET_LENGTH_TOO_LONG": "it does not speak TLS; is it an nbdtun without --tls-dir, or another service?",
}
_CLOSED: Final = "it closed the connection during or right after the TLS handshake"
_CLOSED_REMEDY: Final = "see its log, unless it is another service or an nbdtun without --tls-dir"
_ALTERED: Final = "a TLS record failed authentication: it was altered in transit"


def explain(error: OSError, peer: str, sock: ssl.SSLSocket | ssl.SSLObject | None = None) -> TunnelError:
    """
    One line that says why TLS with ``peer`` failed: a LinkLost if the next attempt may succeed, else a TLSError.

    :param error: raised by ``do_handshake``, or by the first ``recv`` or ``send`` after it.
    :param peer: the other end, as the operator knows it: an endpoint, or the address that connected.
    :param sock: the failed socket, not closed yet; with it, the error of a wrong name lists the certificate's names.
    """
    if isinstance(error, ConnectionAbortedError):  # by a record that we refused
        return LinkLost(f"{peer}: {error}")
    if is_end(error) or isinstance(error, ConnectionError):
        return LinkLost(f"{peer}: {_CLOSED}", _CLOSED_REMEDY)
    if isinstance(error, TimeoutError):
        return LinkLost(f"{peer}: it did not finish the TLS handshake in time", "is it another service?")
    if not isinstance(error, ssl.SSLError):
        return LinkLost(f"{peer}: TLS failed: {error.strerror or error}")
    if "BAD_RECORD_MAC" in (getattr(error, "reason", None) or ""):  # found here, or at the other end, which says so by an alert
        return LinkLost(f"{peer}: {_ALTERED}")
    return TLSError(f"{peer}: {_refusal(error, sock)}")


#: Python's reason when the other end sent data and closed before the socket was wrapped (ssl.py, SSLSocket._create).
_GONE_BEFORE: Final = "Closed before TLS handshake with data in recv buffer."


def is_end(error: OSError) -> bool:
    """
    Whether a read or a handshake failed as the other end closed the connection, properly or not.

    Python has SSLEOFError for it since 3.11.4 only. OpenSSL answers an improper end with an alert; with 3.5, where nobody takes that any
    more, the read fails with EPIPE instead (seen on UNIX sockets; a TCP socket takes the alert).
    """
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, BrokenPipeError)):
        return True
    return getattr(error, "reason", None) in ("UNEXPECTED_EOF_WHILE_READING", _GONE_BEFORE)


def _refusal(error: ssl.SSLError, sock: ssl.SSLSocket | ssl.SSLObject | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error, sock)
    reason = getattr(error, "reason", None) or ""
    alert = reason.partition("_ALERT_")[2]
    if alert:
        return _ALERTS.get(alert, f"it ended the TLS handshake ({in_words(error)})")
    return _REASONS.get(reason, f"TLS failed ({in_words(error)})")


def _verification(error: ssl.SSLCertVerificationError, sock: ssl.SSLSocket | ssl.SSLObject | None) -> str:
    if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return _wrong_name(error, sock)
    return _VERIFY.get(error.verify_code, f"its certificate was not accepted: {error.verify_message}")


def _wrong_name(error: ssl.SSLCertVerificationError, sock: ssl.SSLSocket | ssl.SSLObject | None) -> str:
    quoted = re.search(r"not valid for '(.*)'", error.verify_message)
    wanted = quoted[1] if quoted else "the name that we asked for"
    presented = names_of(_presented(sock))
    verified = [name for name in presented if name.kind is not Kind.COMMON_NAME]
    if presented and not verified:
        return f"its certificate has no subjectAltName, and its common name does not count; it is not for {wanted}"
    names = ", ".join(printable(name.value, 100) for name in verified[:8])
    return f"its certificate is {f'for {names}, ' if names else ''}not for {wanted} (--tls-name verifies another name)"


def _presented(sock: ssl.SSLSocket | ssl.SSLObject | None) -> bytes:
    """
    The certificate that the peer presented, in DER, although the handshake failed; empty if it is not available.

    ``getpeercert()`` has none after a failure. The chain is a method of the socket from Python 3.13 on; before, only the wrapped object has
    it. Only the text of a message depends on it.
    """
    try:
        chain: Any = getattr(sock, "get_unverified_chain", None) or getattr(sock, "_sslobj").get_unverified_chain  # noqa: B009
        leaf = chain()[0]
        return leaf if isinstance(leaf, bytes) else ssl.PEM_cert_to_DER_cert(leaf.public_bytes())
    except (AttributeError, TypeError, IndexError, ValueError, ssl.SSLError):
        return b""
