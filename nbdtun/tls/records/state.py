"""
The state of a link's records, with which another process of the same host goes on where this one has stopped.

It has the secrets of both directions. So it exists in memory only, and in one process at a time: whoever has given it away can neither seal
nor open anything more.
"""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Sealing:
    """A :class:`~nbdtun.tls.records.protection.Sealer` between two records: ``suite`` is OpenSSL's name, ``count`` the next record's."""

    suite: str
    secret: bytes = field(repr=False)
    count: int
    change_due: bool


@frozen
class Unsealing:
    """An :class:`~nbdtun.tls.records.protection.Opener` between two records, with what it has counted; ``begun`` is of a message."""

    suite: str
    secret: bytes = field(repr=False)
    count: int
    changes: int
    records: int
    empty: int
    change_asked: bool
    begun: bytes
    skipped: int


@frozen
class LinkState:
    """
    Both directions; the bytes that have arrived and are not opened; and what the peer has presented, ``protocol`` empty for none.
    """

    sealing: Sealing
    unsealing: Unsealing
    rest: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    protocol: str
