"""The product: `twistd nbdtun-source` and `twistd nbdtun-dest`, those that the environment's `twistd` finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.peers.pair import Pair, Peer, Place
from lab.daemon import Twistd


@contextmanager
def start(
    place: Place, options: Sequence[str] = (), source_options: Sequence[str] = (), destination_options: Sequence[str] = ()
) -> Iterator[Pair]:
    """`options` are those of both ends."""
    options = [*options, "--run-dir", f"{run_dir(place.entrance)}"]
    listen = ["--listen", f"tcp:{place.port}:interface={place.listen}", "--target", f"nbd=unix:{place.server}"]
    connect = ["--connect", f"tcp:{place.dial}:{place.port}", "--forward", f"nbd=unix:{place.entrance}"]
    with (
        Twistd(place.directory, "nbdtun-dest", *listen, *options, *destination_options) as destination,
        Twistd(place.directory, "nbdtun-source", *connect, *options, *source_options) as source,
    ):
        destination.wait_port(place.port)
        source.wait_socket(place.entrance)
        yield Pair(place.entrance, source, destination)


def run_dir(entrance: Path) -> Path:
    """Where the control sockets are of a tunnel with this entrance."""
    return entrance.parent / "run"


def unsecured(place: Place) -> list[str]:
    """The options of both ends without TLS. A line of some length does not end at the loopback."""
    return ["--insecure"]


def secured(place: Place) -> list[str]:
    """Those with TLS."""
    return ["--tls-dir", f"{place.tls}"]


PLAIN = Peer("nbdtun plain", lambda place: start(place, unsecured(place)))
TLS = Peer("nbdtun TLS", lambda place: start(place, secured(place)))
