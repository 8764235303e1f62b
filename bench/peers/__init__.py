"""The peers, one file each, in the order of the table."""

from bench.peers import nbdtun, portforward, undurable
from bench.peers.direct import DIRECT
from bench.peers.haproxy import HAPROXY
from bench.peers.pair import Pair, Peer, Place
from bench.peers.socat import SOCAT, SOCAT_LARGE
from bench.peers.ssh import SSH
from bench.peers.stunnel import STUNNEL

NBDTUN_PLAIN, NBDTUN_TLS = nbdtun.PLAIN, nbdtun.TLS

PEERS = (
    *(DIRECT, SOCAT, SOCAT_LARGE, portforward.PLAIN, NBDTUN_PLAIN),
    *(SSH, STUNNEL, HAPROXY, portforward.TLS, NBDTUN_TLS),
)

DURABILITY = (NBDTUN_PLAIN, undurable.PLAIN, NBDTUN_TLS, undurable.TLS)
"""What durability costs: the tunnel, and the same without."""

__all__ = [
    "DIRECT",
    "DURABILITY",
    "HAPROXY",
    "NBDTUN_PLAIN",
    "NBDTUN_TLS",
    "PEERS",
    "SOCAT",
    "SOCAT_LARGE",
    "SSH",
    "STUNNEL",
    "Pair",
    "Peer",
    "Place",
]
