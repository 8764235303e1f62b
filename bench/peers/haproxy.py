"""haproxy in TCP mode, with mutual TLS 1.3 between its two ends, and as many threads as it likes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.pair import CIPHER, Pair, Peer, Place, program
from lab.daemon import listening
from lab.process import Process, wait


@contextmanager
def start(place: Place, threads: int | None = None) -> Iterator[Pair]:
    """`threads`: as many as it likes, if it is not said."""
    ca = f"ca-file {place.tls}/ca-cert.pem"
    tls = f"ssl {ca} verify required ciphersuites {CIPHER} ssl-min-ver TLSv1.3"
    server = f"{tls} crt {_identity(place, 'server')}"
    client = f"{tls} crt {_identity(place, 'client')} verifyhost 127.0.0.1"
    with (
        _end(place, "destination", f"127.0.0.1:{place.port} {server}", f"unix@{place.server}", threads) as destination,
        _end(place, "source", f"unix@{place.entrance}", f"{place.dial}:{place.port} {client}", threads) as source,
    ):
        wait(lambda: listening(place.port), 10, "haproxy's port", destination)
        wait(place.entrance.exists, 10, "haproxy's socket", source)  # renamed into its place when it listens
        yield Pair(place.entrance, source, destination)


def _identity(place: Place, role: str) -> Path:
    """A certificate and its key in one file, as haproxy wants them."""
    path = place.directory / f"{role}.pem"
    path.touch(0o600)
    path.write_text("".join((place.tls / f"{role}-{part}.pem").read_text() for part in ("cert", "key")))
    return path


def _end(place: Place, name: str, bind: str, server: str, threads: int | None) -> Process:
    lines = [
        *(() if threads is None else ("global", f"  nbthread {threads}")),
        "defaults",
        *("  mode tcp", "  timeout connect 10s", "  timeout client 1h", "  timeout server 1h"),
        *("listen nbd", f"  bind {bind}", f"  server next {server}"),
    ]
    path = place.directory / f"{name}.cfg"
    path.write_text("\n".join(lines) + "\n")
    return Process([program("haproxy") or "haproxy", "-db", "-f", path], place.directory / f"{name}.log")


HAPROXY = Peer("haproxy TLS", start, ("haproxy",))
