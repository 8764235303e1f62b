"""The names in a peer's certificate: for whoever decides by them, and for messages."""

from __future__ import annotations

import enum

from attrs import frozen

from nbdtun.errors import printable


class Kind(enum.Enum):
    """Where in a certificate a name stands."""

    COMMON_NAME = "CN"
    DNS = "DNS"
    EMAIL = "email"
    URI = "URI"
    ADDRESS = "IP"


@frozen
class Name:
    """One name; only in a URI does it matter whether a letter is a capital (RFC 5280, 7.1 to 7.5)."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.value} {printable(self.value, 100)}"


def names_of(der: bytes) -> tuple[Name, ...]:
    """Return the common names and the alternative names in a certificate; none of one that makes no sense."""
    from cryptography import x509  # here, because it is slow to import, and not every end looks at names
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_der_x509_certificate(der)
        common = [Name(Kind.COMMON_NAME, str(each.value)) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(common)
    except Exception:  # fuzzing has seen ValueError, TypeError, InvalidVersion, DuplicateExtension; none is promised to be the last
        return ()
    kinds: dict[type[x509.GeneralName], Kind] = {
        x509.DNSName: Kind.DNS,
        x509.RFC822Name: Kind.EMAIL,
        x509.UniformResourceIdentifier: Kind.URI,
        x509.IPAddress: Kind.ADDRESS,
    }
    return (*common, *(Name(kinds[type(each)], str(each.value)) for each in alternative if type(each) in kinds))
