"""Scaling: several channels at once through one pair of daemons; the total, and whether each gets its share.

First wherever the scheduler puts everybody, then with a core for each host: client and
source on one, server and destination on the other. Beside one channel and eight, the
best of the others with as many connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench import server
from bench.columns import Column
from bench.cores import Cores, a_core_for_each, move, started_on
from bench.load import Load, run, uri
from bench.measures.measure import Measure
from bench.peers import HAPROXY, NBDTUN_PLAIN, NBDTUN_TLS, SOCAT_LARGE, STUNNEL
from bench.peers.pair import Peer
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene

OURS = (NBDTUN_PLAIN, NBDTUN_TLS)
RIVALS = (SOCAT_LARGE, STUNNEL, HAPROXY)
COUNTS = (1, 2, 4, 8, 32)
QUICK = (1, 8)
ANY = Cores()
COLUMNS = (Column("total_mb_s", "total\nMB/s"), Column("least_share", "least share\nof an equal one", 2))


def setting(channels: int, apart: bool = False) -> str:
    """How a number of channels is named, and whether each host has a core."""
    number = "1 channel" if channels == 1 else f"{channels} channels"
    return f"{number}, a core for each host" if apart else number


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Write through all channels, each with 16 requests of 1 MiB in flight."""
    ours = dict.fromkeys(OURS, QUICK if scene.effort.quick else COUNTS)
    yield from _loaded(scene, ours | {peer: QUICK for peer in RIVALS if peer in scene.peers}, ANY)
    cores = a_core_for_each()
    if cores is None:
        scene.note(SCALING.name, "a core for each host: this machine has not two of them")
    else:
        yield from _loaded(scene, dict.fromkeys(OURS, QUICK), cores)


def _loaded(scene: Scene, counts: Mapping[Peer, tuple[int, ...]], cores: Cores) -> Iterator[Sample]:
    with started_on(cores.destination), scene.directory() as directory, server.on_socket(directory) as nbdkit:
        for number, peer in interleaved(tuple(counts), scene.effort.rounds):
            with scene.running(peer, nbdkit) as pair:
                if pair.source:
                    move(pair.source.pid, cores.source)
                for channels in counts[peer]:
                    load = Load("write", scene.effort.seconds, connections=channels)
                    with started_on(cores.source):
                        result = run(load, uri(pair.entrance), directory)
                    figures = {"total_mb_s": result.mb_s, "least_share": result.least_share}
                    yield Sample(SCALING.name, peer.name, number, figures, setting(channels, cores != ANY))


SCALING = Measure("scaling", "Several channels at once", COLUMNS, measure)
