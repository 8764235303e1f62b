"""The comparison: every peer with the same client, server, TCP hop and load.

Each round starts each pair anew, writes, reads, and then sends requests of 4 KiB
one by one. The CPU time is that of both ends with all their children, and nothing
of the client's and the server's. The price of durability is taken in the same
rounds: the tunnel beside the same tunnel without it.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import server
from bench.columns import Column
from bench.load import Load, run, uri
from bench.measures.measure import Measure
from bench.peers import DURABILITY, Pair
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from bench.usage import MIB, cpu_seconds, peak_rss

GB = 1_000_000_000
COLUMNS = (
    Column("write_mb_s", "write\nMB/s"),
    Column("read_mb_s", "read\nMB/s"),
    Column("write_cpu_s_gb", "write\nCPU s/GB", 2),
    Column("read_cpu_s_gb", "read\nCPU s/GB", 2),
    Column("latency_us", "4 KiB\nus"),
    Column("latency_p99_us", "4 KiB p99\nus"),
    Column("source_peak_mib", "source\npeak MiB"),
    Column("destination_peak_mib", "dest.\npeak MiB"),
)


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Every peer in every round; one that fails is named, and the others go on."""
    peers = scene.peers if set(parts) - {"durability"} else ()
    if "durability" in parts:
        peers = tuple(dict.fromkeys((*peers, *DURABILITY)))
    loads = parts if set(parts) - {"durability"} else ("throughput", "latency")
    with scene.directory() as directory, server.on_socket(directory) as nbdkit:
        for number, peer in interleaved(peers, scene.effort.rounds):
            figures: dict[str, float] = {}
            try:
                with scene.running(peer, nbdkit) as pair:
                    if "throughput" in loads:
                        figures |= throughput(scene, pair)
                    if "latency" in loads:
                        figures |= latency(scene, pair)
            except (RuntimeError, OSError) as error:
                scene.note(peer.name, f"round {number}: {error}")
            else:
                yield Sample(COMPARE.name, peer.name, number, figures)


def throughput(scene: Scene, pair: Pair) -> dict[str, float]:
    """Write, and then read: MB/s, CPU seconds for each GB, and the memory of each end."""
    peaks = [0] * len(pair.ends)

    def watch() -> None:
        # Meanwhile, because a child that has ended takes its peak with it.
        for number, end in enumerate(pair.ends):
            peaks[number] = max(peaks[number], peak_rss(end.pid))

    figures = {}
    for load in (Load("write", scene.effort.seconds), Load("read", scene.effort.seconds)):
        before = _cpu(pair)
        with scene.directory() as directory:
            result = run(load, uri(pair.entrance), directory, watch)
        figures[f"{load.way}_mb_s"] = result.mb_s
        if pair.ends:
            figures[f"{load.way}_cpu_s_gb"] = (_cpu(pair) - before) / (result.bytes / GB)
    for role, peak in zip(("source", "destination"), peaks, strict=False):
        figures[f"{role}_peak_mib"] = peak / MIB
    return figures


def latency(scene: Scene, pair: Pair) -> dict[str, float]:
    """One request of 4 KiB after the other: their times, in microseconds."""
    with scene.directory() as directory:
        result = run(Load("write", scene.effort.seconds, block="4k", depth=1), uri(pair.entrance), directory)
    return {"latency_us": result.median_us, "latency_p99_us": result.p99_us}


def _cpu(pair: Pair) -> float:
    return sum(cpu_seconds(end.pid) for end in pair.ends)


COMPARE = Measure(
    "compare",
    "Each peer: 1 MiB with 16 in flight, and 4 KiB one by one",
    COLUMNS,
    measure,
    ("throughput", "latency", "durability"),
)
