"""Metrics: what they cost while they are asked for, beside the same tunnel without them.

Both ends serve them, and are asked each second, more often than any Prometheus asks. The two tunnels take turns in
every round, and the goals compare them round by round: they are to differ by less than two rounds do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench import server
from bench.columns import Column
from bench.measures.compare import latency, throughput
from bench.measures.measure import Measure
from bench.peers import NBDTUN_PLAIN, NBDTUN_TLS, Peer, nbdtun
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab.daemon import free_port
from lab.prometheus import scrape

ROUNDS = 15
INTERVAL = 1.0
COLUMNS = (
    Column("write_mb_s", "write\nMB/s"),
    Column("read_mb_s", "read\nMB/s"),
    Column("write_cpu_s_gb", "write\nCPU s/GB", 3),
    Column("read_cpu_s_gb", "read\nCPU s/GB", 3),
    Column("latency_us", "4 KiB\nus"),
    Column("answers", "times\nasked"),
)


@dataclass(frozen=True)
class Case:
    """A tunnel, and whether its ends are asked for metrics."""

    peer: Peer
    asked: bool

    def __str__(self) -> str:
        return f"{self.peer.name}, with metrics" if self.asked else self.peer.name

    def serving(self, ports: Sequence[int]) -> Peer:
        """The tunnel, whose ends serve metrics at these ports, if at any."""
        if not ports:
            return self.peer
        there, here = (["--metrics", f"127.0.0.1:{port}"] for port in ports)
        options = nbdtun.secured if self.peer is NBDTUN_TLS else nbdtun.unsecured
        return Peer(f"{self}", lambda place: nbdtun.start(place, options(place), here, there))


CASES = tuple(Case(peer, asked) for peer in (NBDTUN_PLAIN, NBDTUN_TLS) for asked in (False, True))


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Each with and without, one after the other."""
    rounds = 1 if scene.effort.quick else max(scene.effort.rounds, ROUNDS)
    with scene.directory() as directory, server.on_socket(directory) as nbdkit:
        for number, case in interleaved(CASES, rounds):
            ports = [free_port(), free_port()] if case.asked else []
            with scene.running(case.serving(ports), nbdkit) as pair, _asking(ports) as answers:
                figures = throughput(scene, pair) | latency(scene, pair) | {"answers": 0.0}
            figures["answers"] += len(answers)
            yield Sample(METRICS.name, f"{case}", number, figures)


@contextmanager
def _asking(ports: Sequence[int]) -> Iterator[list[str]]:
    """Ask them all each second meanwhile; the list has each answer. One that does not come is an error at the end."""
    answers: list[str] = []
    ended, failed = threading.Event(), list[BaseException]()

    def ask() -> None:
        try:
            while not ended.wait(INTERVAL):
                answers.extend(map(scrape, ports))
        except (OSError, ValueError) as error:
            failed.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield answers
    finally:
        ended.set()
        asker.join()
    if failed:
        raise RuntimeError(f"the metrics were not told: {failed[0]}")
    if not all("nbdtun_channel_bytes_total" in answer for answer in answers):
        raise RuntimeError("a page had no metrics of the tunnel")


METRICS = Measure("metrics", "What metrics cost", COLUMNS, measure)
