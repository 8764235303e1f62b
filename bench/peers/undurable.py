"""nbdtun without its durability: its wires, joined to each other. The difference is what durability costs.

What it leaves out is said in `ends/undurable.py`, which is the program of both ends.
"""

from __future__ import annotations

from bench.peers.pair import Peer
from bench.peers.portforward import start

SCRIPT = "undurable.py"
PLAIN = Peer("not durable plain", lambda place: start(place, SCRIPT))
TLS = Peer("not durable TLS", lambda place: start(place, SCRIPT, [f"{place.tls}"]))
