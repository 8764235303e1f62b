"""The names in a certificate, for decisions and for messages, and its validity."""

from __future__ import annotations

import enum
import time
from pathlib import Path

from attrs import frozen

from nbdtun.errors import ConfigError, printable


class Kind(enum.Enum):
    """The place of a name in a certificate."""

    COMMON_NAME = "cn"
    DNS = "dns"
    EMAIL = "email"
    URI = "uri"
    ADDRESS = "ip"


@frozen
class Name:
    """One name; only URIs are case-sensitive (RFC 5280, 7.1 to 7.5)."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{printable(self.value, 100)}"

    @property
    def identity(self) -> str:
        """The same for all spellings of one name, and for no other name."""
        return f"{self.kind.value}:{self.value if self.kind is Kind.URI else self.value.casefold()}"

    @classmethod
    def of_identity(cls, identity: str) -> Name | None:
        """The name of this identity; None for that of a certificate without names."""
        kind, _, value = identity.partition(":")
        return cls(Kind(kind), value) if kind in {each.value for each in Kind} else None


def names_of(der: bytes) -> tuple[Name, ...]:
    """
    Return the alternative names in a certificate, or its common names where it has no subjectAltName; nothing for a malformed one.

    A CA's name constraints do not hold for a common name beside alternative names of another type.
    """
    from cryptography import x509  # here, because it is slow to import, and not every end needs names
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_der_x509_certificate(der)
        common = [Name(Kind.COMMON_NAME, str(each.value)) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(common)
    except Exception:  # fuzzing found ValueError, TypeError, InvalidVersion, DuplicateExtension; there may be more
        return ()
    kinds: dict[type[x509.GeneralName], Kind] = {
        x509.DNSName: Kind.DNS,
        x509.RFC822Name: Kind.EMAIL,
        x509.UniformResourceIdentifier: Kind.URI,
        x509.IPAddress: Kind.ADDRESS,
    }
    return tuple(Name(kinds[type(each)], str(each.value)) for each in alternative if type(each) in kinds)


def purposes_of(der: bytes) -> tuple[str, ...] | None:
    """The purposes of a certificate (its extended key usage), as dotted numbers; None if it has none, or cannot be parsed."""
    from cryptography import x509

    try:
        usage = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except Exception:  # as in names_of
        return None
    return tuple(each.dotted_string for each in usage)


@frozen
class Validity:
    """Seconds since the epoch."""

    start: float
    end: float

    def check(self, path: Path) -> None:
        """
        Check that the certificate is valid now.

        :raise ConfigError: it is not; the text names ``path``.
        """
        if self.end <= time.time():
            raise ConfigError(f"{path}: expired on {date(self.end)}")
        if self.start > time.time():
            raise ConfigError(f"{path}: not valid before {date(self.start)}", "is this host's clock right?")


def validity(pem: bytes) -> Validity | None:
    """Return the validity of the first certificate in ``pem``; None where only OpenSSL can parse it: the peers check it then."""
    from cryptography import x509  # here, because it is slow to import and needed once

    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        return None
    return Validity(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def date(when: float) -> str:
    """A time, for an operator."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))
