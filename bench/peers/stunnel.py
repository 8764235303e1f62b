"""stunnel, with mutual TLS 1.3; it has UNIX sockets at either end, and a thread for each connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.pair import CIPHER, Pair, Peer, Place
from lab.daemon import listening, unix_listening
from lab.process import Process, wait


@contextmanager
def start(place: Place) -> Iterator[Pair]:
    destination_settings = _settings(place, "server", f"127.0.0.1:{place.port}", f"{place.server}")
    source_settings = _settings(place, "client", f"{place.entrance}", f"{place.dial}:{place.port}")
    with (
        Process(["stunnel", destination_settings], place.directory / "destination.log") as destination,
        Process(["stunnel", source_settings], place.directory / "source.log") as source,
    ):
        wait(lambda: listening(place.port), 10, "stunnel's port", destination)
        wait(lambda: unix_listening(place.entrance), 10, "stunnel's socket", source)
        yield Pair(place.entrance, source, destination)


def _settings(place: Place, role: str, accept: str, connect: str) -> Path:
    """A settings file for one end. Both verify the other's certificate."""
    lines = [
        *("foreground = yes", "pid =", "debug = err", "syslog = no"),
        *("socket = l:TCP_NODELAY=1", "socket = r:TCP_NODELAY=1"),
        "[nbd]",
        *(f"client = {'yes' if role == 'client' else 'no'}", f"accept = {accept}", f"connect = {connect}"),
        *(f"cert = {place.tls}/{role}-cert.pem", f"key = {place.tls}/{role}-key.pem"),
        *(f"CAfile = {place.tls}/ca-cert.pem", "verifyChain = yes"),
        *("sslVersion = TLSv1.3", f"ciphersuites = {CIPHER}"),
    ]
    path = place.directory / f"{role}.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


STUNNEL = Peer("stunnel", start, ("stunnel",))
