"""What both ends of a tunnel are set to: its terms, a destination's limits, and the names of the targets that are built in."""

from __future__ import annotations

from attrs import frozen

#: The targets that the destination itself is: the control channel of migrations, and the :mod:`~nbdtun.tunnel.destination.sink`.
CONTROL, SINK = "control", "sink"

BUILT_IN = frozenset({CONTROL, SINK})


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


@frozen
class Terms:
    """
    How channels are treated.

    ``window``: bytes that one direction of a channel keeps at most. ``link_timeout``: seconds without a byte after which a link is
    dead. ``resume_window``: seconds that a channel waits for its next link. ``handshake_timeout``: seconds that a new connection has to
    become a link, and that a first link is tried for.
    """

    window: int = 16 * 1024 * 1024
    link_timeout: float = 15.0
    resume_window: float = 300.0
    handshake_timeout: float = 10.0
