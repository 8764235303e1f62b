"""
The allow-list of sources: it selects certificates among those that the CA has signed, and says what each may reach.

A CA often signs for more than migrations. A rule is ``[NAME=][TYPE:]PATTERN``. The type is that of the certificate's name: ``dns`` (if
none is given), ``uri``, ``ip``, ``email`` or ``cn``. A DNS pattern fits DNS names only: name constraints of a CA hold for each type by
itself. A common name counts only where a certificate has no alternative names. ``*`` stands for characters within one part of a name: a
label of a DNS name, a segment of a URI, a side of an e-mail address. With NAME, the rule is for that target or VM alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from nbdtun.errors import ConfigError, NotAllowed
from nbdtun.tls.certificate import Kind, Name, names_of

#: The most names that a message quotes.
QUOTED = 8

_RULE: Final = re.compile(r"(?:(?P<only>[A-Za-z0-9][A-Za-z0-9._-]{0,63})=)?(?:(?P<kind>dns|uri|ip|email|cn):)?(?P<pattern>.+)", re.DOTALL)
#: What ``*`` stands for.
_STAR: Final = {Kind.DNS: r"[^.]+", Kind.URI: r"[^/]+", Kind.EMAIL: r"[^@]+", Kind.COMMON_NAME: r".+", Kind.ADDRESS: r"[^.:]+"}
_DNS: Final = re.compile(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*\.?")


@frozen
class Rule:
    """Admits names of the type ``kind`` that fit ``pattern``, to everything or to the target or VM ``only``."""

    kind: Kind
    pattern: str
    only: str | None = None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """
        Read ``[NAME=][TYPE:]PATTERN``.

        :raise ConfigError: it could match no certificate.
        """
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise ConfigError("an empty pattern matches no certificate")
        kind, pattern = Kind(match["kind"] or "dns"), match["pattern"]
        if kind is Kind.DNS and not _DNS.fullmatch(pattern):
            raise ConfigError(
                f"{pattern!r} is not a pattern for a DNS name", "name its type, such as uri:, ip:, email: or cn:; only * is a wildcard"
            )
        if kind is Kind.ADDRESS and "*" not in pattern:
            try:
                ipaddress.ip_network(pattern)
            except ValueError as error:
                why = ": it has host bits set" if "host bits" in str(error) else ""
                raise ConfigError(f"{pattern!r} is not an IP address or a network{why}") from error
        return cls(kind, pattern, match["only"])

    def fits(self, name: Name) -> bool:
        """Whether it admits a certificate with this name."""
        if name.kind is not self.kind:
            return False
        if self.kind is Kind.ADDRESS and "*" not in self.pattern:
            return _is_in(name.value, self.pattern)
        shape = _STAR[self.kind].join(map(re.escape, self.pattern.rstrip("." if self.kind is Kind.DNS else "").split("*")))
        return re.fullmatch(shape, name.value, re.DOTALL if self.kind is Kind.URI else re.DOTALL | re.IGNORECASE) is not None


def _is_in(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False


@frozen
class Rights:
    """What a source may reach: ``everything``, or these targets and VMs."""

    everything: bool = True
    only: frozenset[str] = frozenset()

    def include(self, name: str) -> bool:
        """Whether it may reach the target or VM ``name``."""
        return self.everything or name in self.only


@frozen
class Admitted:
    """The names of a certificate by which it is admitted, in its own order, and what it may reach."""

    names: tuple[Name, ...] = ()
    rights: Rights = field(factory=Rights)


def _rules(given: tuple[Rule | str, ...]) -> tuple[Rule, ...]:
    return tuple(rule if isinstance(rule, Rule) else Rule.parse(rule) for rule in given)


@frozen
class AllowList:
    """Admits certificates with a name that fits one of ``rules``; without rules, all certificates, to everything."""

    rules: tuple[Rule, ...] = field(default=(), converter=_rules)

    def check(self, certificate: bytes | None, peer: str) -> Admitted:
        """
        Check the certificate, in DER, that ``peer`` has proved to own.

        :raise NotAllowed: it is not admitted.
        """
        names = () if certificate is None else names_of(certificate)
        if not self.rules:
            return Admitted(names)
        fitting = [(name, rule) for name in names for rule in self.rules if rule.fits(name)]
        if not fitting:
            whose = ", ".join(str(name) for name in names[:QUOTED]) or "no names"
            raise NotAllowed(f"{peer}: no --allow at the destination matches its certificate ({whose})")
        return Admitted(tuple(dict.fromkeys(name for name, _ in fitting)), _rights(rule for _, rule in fitting))

    def rights_of(self, identities: Iterable[str]) -> Rights:
        """What a source with these names, as they are compared, may reach."""
        if not self.rules:
            return Rights()
        names = [name for name in map(Name.of_identity, identities) if name is not None]
        return _rights(rule for rule in self.rules if any(map(rule.fits, names)))


def _rights(fitting: Iterable[Rule]) -> Rights:
    """What those together allow."""
    only = [rule.only for rule in fitting]
    return Rights(None in only, frozenset(each for each in only if each is not None))
