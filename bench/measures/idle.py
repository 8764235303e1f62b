"""Idle channels: what they hold of memory, and what they take of the processor while nothing passes.

Measured with the keepalive that is the default, and with one so rare that it does
not come in the time: what is left then should be nothing at all.
"""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import server
from bench.columns import Column
from bench.measures.measure import Measure
from bench.peers import NBDTUN_PLAIN, NBDTUN_TLS, Pair, Peer, nbdtun
from bench.samples import Sample
from bench.scene import Scene
from bench.usage import MIB, cpu_seconds, rss, wakeups

CHANNELS = 500
GREETING = 18
"""Bytes that an NBD server says first: a channel that passed them is open."""
SETTLE = 15.0
"""Seconds until what belongs to the opening is over: a link has 10 s for it, and a timer for that."""
COLUMNS = (
    Column("source_mib", "source\nMiB", 1),
    Column("destination_mib", "dest.\nMiB", 1),
    Column("source_kib_channel", "source\nKiB/channel", 1),
    Column("destination_kib_channel", "dest.\nKiB/channel", 1),
    Column("source_cpu_ms_s", "source\nCPU ms/s", 1),
    Column("destination_cpu_ms_s", "dest.\nCPU ms/s", 1),
    Column("source_wakeups_s", "source\nwake-ups/s", 1),
    Column("destination_wakeups_s", "dest.\nwake-ups/s", 1),
)
NO_KEEPALIVE = "keepalive every 20 min"
CASES: tuple[tuple[Peer, str], ...] = (
    (NBDTUN_PLAIN, "default keepalive"),
    (NBDTUN_TLS, "default keepalive"),
    (Peer(NBDTUN_TLS.name, lambda place: nbdtun.start(place, ["--tls-dir", f"{place.tls}", "--link-timeout", "1h"])), NO_KEEPALIVE),
)


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Once: these figures do not vary from round to round."""
    seconds = 10.0 if scene.effort.quick else 20.0
    with _descriptors(), scene.directory() as directory, server.on_socket(directory) as nbdkit:
        for peer, setting in CASES[-1:] if scene.effort.quick else CASES:
            with scene.running(peer, nbdkit) as pair, ExitStack() as channels:
                before = [rss(end.pid) for end in pair.ends]
                for _ in range(CHANNELS):
                    channels.enter_context(_channel(pair.entrance))
                time.sleep(SETTLE)
                figures = _memory(pair, before) | _rest(pair, seconds)
            yield Sample(IDLE.name, peer.name, 1, figures, setting)


@contextmanager
def _channel(entrance: Path) -> Iterator[None]:
    """One that is open, and has nothing to do."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(f"{entrance}")
        if len(client.recv(GREETING, socket.MSG_WAITALL)) < GREETING:
            raise RuntimeError(f"{entrance}: closed before the server's greeting came")
        yield


@contextmanager
def _descriptors() -> Iterator[None]:
    """As many descriptors as are allowed, for what is started meanwhile too: a channel takes two at each end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _memory(pair: Pair, before: list[int]) -> dict[str, float]:
    figures = {}
    for role, end, empty in zip(("source", "destination"), pair.ends, before, strict=True):
        now = rss(end.pid)
        figures[f"{role}_mib"] = now / MIB
        figures[f"{role}_kib_channel"] = (now - empty) / CHANNELS / 1024
    return figures


def _rest(pair: Pair, seconds: float) -> dict[str, float]:
    """Look at both ends before and after."""
    before = [(cpu_seconds(end.pid), wakeups(end.pid)) for end in pair.ends]
    time.sleep(seconds)
    figures = {}
    for role, end, (cpu, woken) in zip(("source", "destination"), pair.ends, before, strict=True):
        figures[f"{role}_cpu_ms_s"] = (cpu_seconds(end.pid) - cpu) * 1000 / seconds
        figures[f"{role}_wakeups_s"] = (wakeups(end.pid) - woken) / seconds
    return figures


IDLE = Measure("idle", f"{CHANNELS} idle channels", COLUMNS, measure)
