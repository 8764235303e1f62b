"""
The allow-list of sources: it selects certificates among those that the CA has signed.

A CA often signs for more than migrations. Patterns are those of a shell: ``*`` stands for any characters (including dots and slashes),
``?`` for one, ``[...]`` for one of a set. A pattern must match a whole name: the subject's common name, or a DNS name, e-mail address or
URI among the alternative names.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from attrs import frozen

from nbdtun.errors import ConfigError, NotAllowed
from nbdtun.tls.certificate import Kind, Name, names_of

#: The most names that a message quotes.
QUOTED = 8


def check_pattern(text: str) -> str:
    """
    Return ``text`` if it could match a certificate.

    :raise ConfigError: it is empty, as no name is.
    """
    if not text.strip():
        raise ConfigError("an empty pattern matches no certificate")
    return text


@frozen
class AllowList:
    """Admits certificates with a name that matches one of ``patterns``; without patterns, all certificates."""

    patterns: tuple[str, ...] = ()

    def check(self, certificate: bytes | None, peer: str) -> None:
        """
        Check the certificate, in DER, that ``peer`` has proved to own.

        :raise NotAllowed: it is not admitted.
        """
        if not self.patterns:
            return
        names = () if certificate is None else names_of(certificate)
        if not any(self._fits(name) for name in names):
            whose = ", ".join(str(name) for name in names[:QUOTED]) or "no names"
            raise NotAllowed(f"{peer}: no --allow at the destination matches its certificate ({whose})")

    def _fits(self, name: Name) -> bool:
        if name.kind is Kind.URI:
            return any(fnmatchcase(name.value, pattern) for pattern in self.patterns)
        return any(fnmatchcase(name.value.casefold(), pattern.casefold()) for pattern in self.patterns)
