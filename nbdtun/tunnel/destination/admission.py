"""
Admission: the connections at the destination's door, from their arrival until they are links or gone.

Anybody can connect and be silent, or drip one byte after the other. All of these connections have an end by time; this bounds how many
there are meanwhile. A newcomer is never turned away, because among a thousand who only block the door it may be a source that has lost
its link: an older one goes for it, of the address that has the most. Who has shown a certificate that is admitted (or, where there is
no TLS, has asked for a channel) is counted apart, so that no stranger can displace him.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from nbdtun.errors import LinkLost
from nbdtun.tunnel.destination.fair_table import FairTable
from nbdtun.tunnel.opening.transport import OpeningTransport
from nbdtun.tunnel.settings import Limits

#: Whoever has one IPv6 address mostly has the 2**64 of its network.
NETWORK_BITS = 64


@frozen
class Caller:
    """Who has connected: how messages name it, where from, and the fingerprint of its certificate, "" without TLS."""

    peer: str
    address: str
    identity: str = ""

    @property
    def owner(self) -> str:
        """On whose account its channels go."""
        return self.identity or self.address

    @classmethod
    def at(cls, address: Any) -> Caller:
        """Read one of Twisted's addresses, of whoever has just connected."""
        host, port = getattr(address, "host", None), getattr(address, "port", None)
        if host is None:
            return cls("a local peer", "local")
        return cls(f"{host}:{port}", _network(host))


def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, NETWORK_BITS), strict=False))


class Admission:
    """Keeps within ``limits``; iterates over all connections at the door."""

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

    def enter(self, transport: OpeningTransport, address: str) -> None:
        """A stranger has connected from ``address``; it leaves by itself."""
        _displace(self._strangers.add(address, transport, None))
        transport.over.addCallback(lambda _: self._leave(transport))

    def recognise(self, transport: OpeningTransport, owner: str) -> None:
        """It is not a stranger any more."""
        if transport in self._strangers:
            self._strangers.pop(transport)
            _displace(self._known.add(owner, transport, None))

    def _leave(self, transport: OpeningTransport) -> None:
        self._strangers.pop(transport)
        self._known.pop(transport)


def _displace(gone: tuple[OpeningTransport, None] | None) -> None:
    if gone is not None:
        gone[0].give_up(
            LinkLost(f"{gone[0].peer}: closed to make room; too many connections have not opened a channel yet (--max-handshakes)")
        )
