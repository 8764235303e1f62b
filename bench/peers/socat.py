"""socat, which forks for each connection: with its own buffers of 8 KiB, and with 1 MiB.

`nodelay`, because NBD sends its header and its payload apart; and room for clients that connect while it forks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.pair import Pair, Peer, Place
from lab.daemon import listening, unix_listening
from lab.process import Process, wait


@contextmanager
def start(place: Place, *options: str) -> Iterator[Pair]:
    listen = f"TCP-LISTEN:{place.port},bind={place.listen},reuseaddr,fork,nodelay,backlog=64"
    accept = f"UNIX-LISTEN:{place.entrance},fork,backlog=64"
    log = place.directory
    with (
        Process(["socat", *options, listen, f"UNIX-CONNECT:{place.server}"], log / "destination.log") as destination,
        Process(["socat", *options, accept, f"TCP:{place.dial}:{place.port},nodelay"], log / "source.log") as source,
    ):
        wait(lambda: listening(place.port), 10, "socat's port", destination)
        wait(lambda: unix_listening(place.entrance), 10, "socat's socket", source)
        yield Pair(place.entrance, source, destination)


SOCAT = Peer("socat", start, ("socat",))
SOCAT_LARGE = Peer("socat -b 1048576", lambda place: start(place, "-b", "1048576"), ("socat",))
