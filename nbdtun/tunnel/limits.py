"""How much a destination takes upon itself: in all, and for one peer."""

from __future__ import annotations

from attrs import frozen


@frozen
class Limits:
    """
    Counts of what there may be at one time.

    ``channels``: in all. ``channels_per_peer``: of one source, which is known by its certificate (without TLS: by its address).
    ``handshakes``: connections that have not become links yet, once of strangers and once of those who have shown a certificate that
    is admitted. ``handshakes_per_address``: of strangers from one address.
    """

    channels: int = 1024
    channels_per_peer: int = 512
    handshakes: int = 256
    handshakes_per_address: int = 128
