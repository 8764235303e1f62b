"""Distance: a line of 1 Gbit/s and some length, and the share of it that is used.

TCP itself feels the line: it is a device of the kernel's. QEMU's mirror keeps 16 requests
of 1 MiB in flight, so one disk cannot use more than 16 MiB a round trip: at 1 Gbit/s that
fills a line of 134 ms. Where that comes near, 64 are measured. One request of 4 KiB at a
time shows the round trip itself, and whether a tunnel needs more than one. A client and a
server with the line and no tunnel between them show what the line carries by Linux's own
defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench import server
from bench.columns import Column
from bench.line import FAR, FAR_SEEN, GIGABIT, Length, line, unable
from bench.load import MB, Load, run, uri
from bench.measures.measure import Measure
from bench.peers import NBDTUN_PLAIN, NBDTUN_TLS, SOCAT_LARGE, Peer, Place
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab.daemon import free_port

NO_TUNNEL = "no tunnel"
TUNNELS = (SOCAT_LARGE, NBDTUN_PLAIN, NBDTUN_TLS)
WARM_UP = 20
"""Round trips in which TCP finds the line's rate."""


@dataclass(frozen=True)
class Case:
    """A line, and what is sent over it."""

    length: Length
    depth: int = 16
    block: str = "1M"

    def __str__(self) -> str:
        return f"{self.length}, {self.depth} in flight"

    @property
    def warm_up(self) -> float:
        """Seconds, 50 round trips more where packets are lost."""
        return max(0.5, self.length.round_trip_ms / 1000 * (WARM_UP + 50 * bool(self.length.losses)))


NOT_NEAR, FAR_AWAY = Case(Length(50)), Case(Length(150), 64)
CASES = (
    *(Case(Length(ms)) for ms in (1, 10)),
    NOT_NEAR,
    FAR_AWAY,
    Case(Length(150, losses=1000, congestion="cubic"), 2),  # which carries so little that more would take minutes to drain
    Case(Length(150, losses=1000, congestion="bbr"), 64),
    Case(Length(50), 1, "4k"),
)
QUICK = (NOT_NEAR, Case(Length(50), 1, "4k"))
COLUMNS = (Column("share", "share of\nthe line", 3), Column("mb_s", "MB/s", 1), Column("latency_ms", "a request\nms", 1))


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Write, in every case, with every subject."""
    if reason := unable():
        scene.note(DISTANCE.name, reason)
        return
    cases = QUICK if scene.effort.quick else CASES
    tunnels = [None, *(peer for peer in TUNNELS if not peer.missing())]
    subjects = [(case, tunnel) for case in cases for tunnel in tunnels]
    for number, (case, tunnel) in interleaved(subjects, scene.effort.rounds):
        load = Load("write", max(scene.effort.seconds, 2 * case.warm_up), case.block, case.depth, warm_up=case.warm_up)
        with _far(scene, tunnel, case.length, number) as where, scene.directory() as directory:
            result = run(load, where, directory)
        figures = {"latency_ms": result.median_us / 1000}
        if case.depth > 1:
            figures |= {"share": result.mb_s * MB / GIGABIT, "mb_s": result.mb_s}
        yield Sample(DISTANCE.name, tunnel.name if tunnel else NO_TUNNEL, number, figures, f"{case}")


@contextmanager
def _far(scene: Scene, tunnel: Peer | None, length: Length, seed: int) -> Iterator[str]:
    """A tunnel, or none, with a line in its middle: the URI of its entrance."""
    with ExitStack() as ended:
        directory = ended.enter_context(scene.directory())
        ended.enter_context(line(directory, length, seed))
        if tunnel is None:
            yield f"nbd://{FAR_SEEN}:{ended.enter_context(server.on_port(directory, FAR))}"
        else:
            nbdkit = ended.enter_context(server.on_socket(directory))
            pair = ended.enter_context(tunnel.start(Place(directory, nbdkit, scene.tls, free_port(), FAR, FAR_SEEN)))
            yield uri(pair.entrance)


DISTANCE = Measure("distance", "A line of 1 Gbit/s and some length", COLUMNS, measure)
