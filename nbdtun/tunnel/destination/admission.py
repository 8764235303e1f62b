"""
Admission: new connections at the destination, until they become links or close.

Any host can connect and stay silent, or send one byte at a time. Each connection has a time limit; this module limits their number. It
never rejects the newest one: among a thousand that only block the port, it may be a source that has lost its link. Instead it closes the
oldest connection of the address that has the most. Sources with an admitted certificate (without TLS: those that have asked for a channel)
are counted apart, so that no stranger can displace them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

from attrs import evolve, field, frozen

from nbdtun.errors import LinkLost, NotAllowed, ProtocolViolation
from nbdtun.ownership.loopback import stranger
from nbdtun.tls.contexts import fingerprint
from nbdtun.tunnel.destination.allowlist import Admitted, Rights
from nbdtun.tunnel.destination.fair_table import FairTable
from nbdtun.tunnel.opening.transport import OpeningTransport
from nbdtun.tunnel.settings import Limits

#: A host with one IPv6 address can usually use all 2**64 of its network.
NETWORK_BITS = 64


@frozen
class Proof:
    """The secrets of one command: the channel's own, and that of the session whose target it asks for; None where they are left out."""

    channel: bytes | None = field(default=None, repr=False)
    session: bytes | None = field(default=None, repr=False)

    def check(self, *, tls: bool) -> None:
        """
        Check that secrets are told under TLS, and only there.

        :raise ProtocolViolation: they are not.
        """
        if tls and self.channel is None:
            raise ProtocolViolation("under TLS, a channel has a secret")
        if not tls and (self.channel is not None or self.session is not None):
            raise ProtocolViolation("a secret is told under TLS only")


@frozen
class Caller:
    """
    A peer: its name in messages and its address; and by its certificate its identity, the first admitted name ("" without TLS), all its
    admitted ``names`` for comparisons, and what it may reach.
    """

    peer: str
    address: str
    identity: str = ""
    name: str = ""
    names: frozenset[str] = frozenset()
    rights: Rights = field(factory=Rights)

    def owns(self, identity: str) -> bool:
        """Whether it may act on what ``identity`` has begun."""
        return identity == self.identity or identity in self.names

    def certified(self, certificate: bytes, admitted: Admitted) -> Caller:
        """Return it with its certificate, in DER; one without any name stands for itself."""
        names = [name.identity for name in admitted.names] or [f"sha256:{fingerprint(certificate)}"]
        first = str(next(iter(admitted.names), ""))
        return evolve(self, identity=names[0], name=first, names=frozenset(names), rights=admitted.rights)

    @property
    def owner(self) -> str:
        """The account that its channels count for."""
        return self.identity or self.address

    @classmethod
    def at(cls, address: Any) -> Caller:
        """Return the caller at ``address``, one of Twisted's addresses."""
        host, port = getattr(address, "host", None), getattr(address, "port", None)
        if host is None:
            return cls("a local peer", "local")
        host = _unmapped(host)
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", _network(host))


def _unmapped(host: str) -> str:
    """An IPv4 address as such, also where it has come to a listener of IPv6."""
    try:
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return host if mapped is None else str(mapped)


def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(ipaddress.ip_network((address, NETWORK_BITS), strict=False))


class Admission:
    """Keeps new connections within ``limits``; iterates over all of them."""

    def __init__(self, limits: Limits) -> None:
        self._strangers: FairTable[OpeningTransport, None] = FairTable(limits.handshakes, limits.handshakes_per_address)
        self._known: FairTable[OpeningTransport, None] = FairTable(limits.handshakes)

    def __repr__(self) -> str:
        return f"<Admission of {len(self._strangers)} strangers, {len(self._known)} known>"

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def __iter__(self) -> Iterator[OpeningTransport]:
        yield from self._strangers
        yield from self._known

    def limit(self, limits: Limits) -> None:
        """Keep new connections within other limits."""
        self._strangers.limit(limits.handshakes, limits.handshakes_per_address)
        self._known.limit(limits.handshakes)

    @property
    def strangers(self) -> int:
        """How many connections of strangers there are."""
        return len(self._strangers)

    def enter(self, transport: OpeningTransport, address: str) -> None:
        """A stranger has connected from ``address``; it is removed when its opening is over."""
        _displace(self._strangers.add(address, transport, None))
        transport.over.addCallback(lambda _: self._forget(transport))

    def recognise(self, transport: OpeningTransport, owner: str) -> None:
        """The peer is no longer a stranger: count its connection for ``owner``."""
        if transport in self._strangers:
            self._strangers.pop(transport)
            _displace(self._known.add(owner, transport, None))

    def _forget(self, transport: OpeningTransport) -> None:
        self._strangers.pop(transport)
        self._known.pop(transport)


def _displace(gone: tuple[OpeningTransport, None] | None) -> None:
    if gone is not None:
        gone[0].give_up(
            LinkLost(f"{gone[0].peer}: closed to make room; too many connections have not opened a channel yet (--max-handshakes)")
        )


def refuse_strangers(sock: socket.socket, peer: str) -> None:
    """
    Refuse other users of this host, where there is no TLS.

    :raise NotAllowed: ``peer`` at the other end of ``sock`` is one.
    """
    if who := stranger(sock, accepted=True):
        raise NotAllowed(f"{peer}: {who}", "without TLS, only root and the destination's own user may connect, unless it has --insecure")
