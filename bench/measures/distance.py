"""Distance: a round trip of some milliseconds at 1 Gbit/s, and the share of the line that is used.

QEMU's mirror keeps 16 requests of 1 MiB in flight, so it cannot use more than 16 MiB
a round trip: at 1 Gbit/s that fills a line of 134 ms. Where that comes near, 64 are
measured too. One request of 4 KiB at a time shows the round trip itself, and whether a
tunnel needs more than one. A client and a server with the line and no tunnel between
them show what the line carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench import server
from bench.columns import Column
from bench.line import GIGABIT, line
from bench.load import MB, Load, run, uri
from bench.measures.measure import Measure
from bench.peers import NBDTUN_PLAIN, NBDTUN_TLS, SOCAT_LARGE, Peer, Place
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab.daemon import free_port

NO_TUNNEL = "no tunnel"
TUNNELS = (SOCAT_LARGE, NBDTUN_PLAIN, NBDTUN_TLS)
WARM_UP = 0.5


@dataclass(frozen=True)
class Case:
    """A line's length, and what is sent over it."""

    round_trip_ms: int
    depth: int = 16
    block: str = "1M"

    def __str__(self) -> str:
        return f"{self.round_trip_ms} ms, {self.depth} in flight"


CASES = (*(Case(ms) for ms in (1, 10, 50, 100)), Case(100, 64), Case(50, 1, "4k"))
QUICK = (Case(50), Case(50, 1, "4k"))
COLUMNS = (Column("share", "share of\nthe line", 3), Column("mb_s", "MB/s", 1), Column("latency_ms", "a request\nms", 1))


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Write, in every case, with every subject."""
    cases = QUICK if scene.effort.quick else CASES
    tunnels = [None, *(peer for peer in TUNNELS if not peer.missing())]
    subjects = [(case, tunnel) for case in cases for tunnel in tunnels]
    for number, (case, tunnel) in interleaved(subjects, scene.effort.rounds):
        load = Load("write", scene.effort.seconds, case.block, case.depth, warm_up=WARM_UP)
        with _far(scene, tunnel, case.round_trip_ms) as where, scene.directory() as directory:
            result = run(load, where, directory)
        figures = {"latency_ms": result.median_us / 1000}
        if case.depth > 1:
            figures |= {"share": result.mb_s * MB / GIGABIT, "mb_s": result.mb_s}
        yield Sample(DISTANCE.name, tunnel.name if tunnel else NO_TUNNEL, number, figures, f"{case}")


@contextmanager
def _far(scene: Scene, tunnel: Peer | None, round_trip_ms: int) -> Iterator[str]:
    """A tunnel, or none, with a line in its middle: the URI of its entrance."""
    with ExitStack() as ended:
        directory = ended.enter_context(scene.directory())
        if tunnel is None:
            port = ended.enter_context(server.on_port(directory))
            near = ended.enter_context(line(directory, port, round_trip_ms))
            yield f"nbd://127.0.0.1:{near}"
        else:
            nbdkit = ended.enter_context(server.on_socket(directory))
            port = free_port()
            near = ended.enter_context(line(directory, port, round_trip_ms))
            pair = ended.enter_context(tunnel.start(Place(directory, nbdkit, scene.tls, port, near)))
            yield uri(pair.entrance)


DISTANCE = Measure("distance", "A line of 1 Gbit/s and some length", COLUMNS, measure)
