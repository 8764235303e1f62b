"""
The files of TLS, under QEMU's names. Loading names each file that is missing, damaged or expired.

Each file is read once before OpenSSL loads it, because OpenSSL's errors do not name the file.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.tls.certificate import date, validity

CA_CERT, CA_KEY, CA_CRL = "ca-cert.pem", "ca-key.pem", "ca-crl.pem"
SERVER_CERT, SERVER_KEY = "server-cert.pem", "server-key.pem"
CLIENT_CERT, CLIENT_KEY = "client-cert.pem", "client-key.pem"


def load(context: ssl.SSLContext, directory: Path, certificate: str, key: str) -> None:
    """
    Load the files of ``directory`` into ``context``: the CAs to trust, the revocation list, and the certificate to present.

    :raise ConfigError: a file is missing, unreadable, not what its name says, or expired; the text names it.
    """
    if not directory.is_dir():
        raise ConfigError(f"--tls-dir {directory}: {'Not a directory' if directory.exists() else 'No such file or directory'}")
    _trust(context, directory / CA_CERT)
    if (directory / CA_CRL).exists():
        _heed_revocations(context, directory / CA_CRL)
    _refuse_the_other_ends(directory, certificate, key)
    _present(context, directory / certificate, directory / key)


def _refuse_the_other_ends(directory: Path, certificate: str, key: str) -> None:
    """The two ends' directories are easily mixed up."""
    other, ours = ("the destination", "the source") if certificate == CLIENT_CERT else ("the source", "the destination")
    if not (directory / certificate).exists() and (directory / (SERVER_CERT if certificate == CLIENT_CERT else CLIENT_CERT)).exists():
        what = f"--tls-dir {directory}: it has the certificate of {other}, and no {certificate}"
        raise ConfigError(what, f"{ours} needs {CA_CERT}, {certificate} and {key}")


def _trust(context: ssl.SSLContext, path: Path) -> None:
    _take_in(context, path, "CERTIFICATE-----", "certificate")
    authorities = context.get_ca_certs()
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in authorities]
    if ends and max(ends) <= time.time():
        raise ConfigError(f"{path}: expired on {date(max(ends))}")


def _heed_revocations(context: ssl.SSLContext, path: Path) -> None:
    _take_in(context, path, "X509 CRL-----", "revocation list")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _take_in(context: ssl.SSLContext, path: Path, marker: str, noun: str) -> None:
    _read_pem(path, marker, noun)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ConfigError(f"{path}: damaged {noun} ({in_words(error)})") from error


def _present(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    pem = _read_pem(certificate, "CERTIFICATE-----", "certificate")
    _read_pem(key, "PRIVATE KEY-----", "private key")

    def no_passphrase() -> str:
        raise ConfigError(f"{key}: protected by a passphrase; use a key without one")

    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as error:
        raise ConfigError(_unusable_pair(certificate, key, error)) from error
    _refuse_outdated(certificate, pem)


def _unusable_pair(certificate: Path, key: Path, error: ssl.SSLError) -> str:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # the last: one is RSA, the other EC
        return f"{key}: does not belong to {certificate}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=certificate)
    except ssl.SSLError as damage:
        return f"{certificate}: damaged certificate ({in_words(damage)})"
    if error.reason and error.reason.startswith("EE_"):  # EE_KEY_TOO_SMALL: what the certificate certifies is too weak
        return f"{certificate}: refused by OpenSSL ({in_words(error)})"
    return f"{key}: damaged private key ({in_words(error)})"


def _read_pem(path: Path, marker: str, noun: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if b"-----BEGIN " not in content or marker.encode() not in content:
        raise ConfigError(f"{path}: not a PEM {noun}")
    return content


def _refuse_outdated(path: Path, pem: bytes) -> None:
    """Refuse an expired certificate now; otherwise each peer would refuse it later."""
    found = validity(pem)
    if found is not None:
        found.check(path)


def in_words(error: ssl.SSLError) -> str:
    """OpenSSL's name for ``error``, as words; not every error has one, or the attribute."""
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
