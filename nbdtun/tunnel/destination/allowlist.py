"""
The allow-list of sources: which certificates are admitted, of those that the CA has signed.

A CA often signs for more than migrations. A pattern is a shell's: ``*`` stands for any letters (dots and slashes too), ``?`` for one,
``[...]`` for one of some. It has to fit a whole name: the subject's common name, or a DNS name, an e-mail address or a URI among the
alternative names.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from attrs import frozen

from nbdtun.errors import ConfigError, NotAllowed
from nbdtun.tls.certificate import Kind, Name, names_of

#: Names that a message quotes.
QUOTED = 8


def check_pattern(text: str) -> str:
    """
    Give back ``text`` if a certificate could fit it.

    :raise ConfigError: it is empty, which no name is.
    """
    if not text.strip():
        raise ConfigError("an empty pattern matches no certificate")
    return text


@frozen
class AllowList:
    """Admits certificates that have a name which one of ``patterns`` fits; all, if there are no patterns."""

    patterns: tuple[str, ...] = ()

    def check(self, certificate: bytes | None, peer: str) -> None:
        """
        Look at the certificate, in DER, that ``peer`` has proved to own.

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
