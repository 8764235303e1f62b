"""Twisted's own port forwarder, `twisted.protocols.portforward`, with its stock transports: plain, and with its TLS."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.peers.pair import Pair, Peer, Place
from lab.daemon import listening, unix_listening
from lab.process import Process, wait

ENDS = Path(__file__).resolve().parent.parent / "ends"
"""Programs of the ends that are made here; started by path, so that they find the `nbdtun` that every other process finds."""


def end(script: str, *arguments: str, log: Path) -> Process:
    """One of those programs."""
    return Process([sys.executable, "-P", ENDS / script, *arguments], log)


@contextmanager
def start(place: Place, script: str = "portforward.py", options: Sequence[str] = ()) -> Iterator[Pair]:
    """Two processes of one program, which has the roles `source` and `destination`."""
    log = place.directory
    with (
        end(script, "destination", f"{place.port}", f"{place.server}", *options, log=log / "destination.log") as destination,
        end(script, "source", f"{place.entrance}", f"{place.port}", *options, log=log / "source.log") as source,
    ):
        wait(lambda: listening(place.port), 10, f"{script}'s port", destination)
        wait(lambda: unix_listening(place.entrance), 10, f"{script}'s socket", source)
        yield Pair(place.entrance, source, destination)


PLAIN = Peer("portforward plain", start)
TLS = Peer("portforward TLS", lambda place: start(place, options=[f"{place.tls}"]))
