"""No tunnel: the server's own socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.pair import Pair, Peer, Place


@contextmanager
def start(place: Place) -> Iterator[Pair]:
    yield Pair(place.server)


DIRECT = Peer("direct UNIX", start)
