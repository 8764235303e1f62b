"""The certificates in a directory and below it, and the revocation lists: what expires when."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from nbdtun.errors import ConfigError
from nbdtun.ownership.given import check_directory
from nbdtun.tls.certificate import names_of, validity
from nbdtun.tls.revocation import currency, read_lists

#: The most files that are looked at.
MOST = 10_000


@frozen
class Expiry:
    """A file, what is in it, in words, and when it expires or is to be replaced: seconds since the epoch, None for never."""

    path: Path
    what: str
    end: float | None


def inventory(directory: Path) -> list[Expiry]:
    """
    What is in ``directory`` and below it, by the time at which it expires.

    :raise ConfigError: it is no directory.
    """
    check_directory(directory)
    files = [path for path in sorted(directory.rglob("*.pem"))[:MOST] if path.is_file()]
    found = [each for each in map(_look, files) if each is not None]
    return sorted(found, key=lambda each: (each.end is None, each.end or 0.0, each.path))


def _look(path: Path) -> Expiry | None:
    """None for a key, a request, and what cannot be read."""
    with suppress(OSError, ValueError, ConfigError):
        content = path.read_bytes()
        if b"BEGIN CERTIFICATE-----" in content and (valid := validity(content)) is not None:
            return Expiry(path, _words(x509.load_pem_x509_certificates(content)[0]), valid.end)
        if b"BEGIN X509 CRL" in content:
            until = currency(read_lists(path))
            return Expiry(path, "revocation list", None if until is None else until.end)
    return None


def _words(certificate: x509.Certificate) -> str:
    subject = certificate.subject.rfc4514_string()
    with suppress(x509.ExtensionNotFound):
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return f"CA {subject}"
    return ", ".join(map(str, names_of(certificate.public_bytes(Encoding.DER)))) or subject
