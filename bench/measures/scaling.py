"""Scaling: several channels at once through one pair of daemons; the total, and whether each gets its share."""

from __future__ import annotations

from collections.abc import Iterator

from bench import server
from bench.columns import Column
from bench.load import Load, run, uri
from bench.measures.measure import Measure
from bench.peers import NBDTUN_PLAIN, NBDTUN_TLS
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene

COUNTS = (1, 2, 4, 8, 32)
QUICK = (1, 8)
COLUMNS = (Column("total_mb_s", "total\nMB/s"), Column("least_share", "least share\nof an equal one", 2))


def setting(channels: int) -> str:
    """How a number of channels is named."""
    return "1 channel" if channels == 1 else f"{channels} channels"


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Write through all channels, each with 16 requests of 1 MiB in flight."""
    counts = QUICK if scene.effort.quick else COUNTS
    with scene.directory() as directory, server.on_socket(directory) as nbdkit:
        for number, peer in interleaved((NBDTUN_PLAIN, NBDTUN_TLS), scene.effort.rounds):
            with scene.running(peer, nbdkit) as pair:
                for channels in counts:
                    load = Load("write", scene.effort.seconds, connections=channels)
                    result = run(load, uri(pair.entrance), directory)
                    figures = {"total_mb_s": result.mb_s, "least_share": result.least_share}
                    yield Sample(SCALING.name, peer.name, number, figures, setting(channels))


SCALING = Measure("scaling", "Several channels at once", COLUMNS, measure)
