"""Cores: what more of them carry, where each process of the tunnel has a small share of one.

A machine of two cores stands for one of many: a cgroup's quota holds each worker, and the daemon beside it, to the same share. Client and
server have what they like. So the tunnel alone is the bottleneck, and N workers are N cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench import server
from bench.columns import Column
from bench.load import Load, run, uri
from bench.measures.measure import Measure
from bench.peers import HAPROXY, NBDTUN_PLAIN, NBDTUN_TLS, SOCAT_LARGE, Pair, Peer, haproxy, nbdtun
from bench.quota import Hierarchy, held_to, hierarchy
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from bench.usage import cpu_seconds, family

SHARE = 0.08
"""Of a core, for each process; for a peer of threads, or that forks, for each core that it stands for."""
CHANNELS = 8
COUNTS = (1, 2, 4)
FREE, WARM_UP = 2.0, 5.0
"""Seconds without a quota, in which all begin and measure their round trips; and until what is measured begins.

With the quota, a round trip is a period of it, and a sender would keep as much as a line of that length holds.
"""
COLUMNS = (
    Column("total_mb_s", "total\nMB/s"),
    Column("mb_cpu_s", "MB for\na CPU s"),
    Column("cores", "cores\nused", 2),
)


@dataclass(frozen=True)
class Subject:
    """A tunnel that stands for one of so many cores at each end."""

    peer: Peer
    count: int

    @property
    def name(self) -> str:
        return self.peer.name


def ours(kind: Peer, count: int) -> Subject:
    """nbdtun with so many workers at either end."""
    secured = nbdtun.secured if kind is NBDTUN_TLS else nbdtun.unsecured
    name = f"{kind.name}, {count} worker{'s' * (count > 1)}"
    return Subject(Peer(name, lambda place: nbdtun.start(place, [*secured(place), "--workers", f"{count}"])), count)


THREADS = Peer(f"{HAPROXY.name}, {COUNTS[-1]} threads", lambda place: haproxy.start(place, COUNTS[-1]), HAPROXY.programs)
OURS = tuple(ours(NBDTUN_TLS, count) for count in COUNTS)
PLAIN = ours(NBDTUN_PLAIN, COUNTS[-1])
RIVALS = (Subject(SOCAT_LARGE, COUNTS[-1]), Subject(THREADS, COUNTS[-1]))
SETTING = f"{CHANNELS} channels, {SHARE:g} of a core for each"


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Write through all channels, each with 16 requests of 1 MiB in flight."""
    where = hierarchy()
    if where is None:
        scene.note(CORES.name, "it needs cgroups that it can make; processor time for each GB is in the comparison")
        return
    subjects = [*OURS, PLAIN, *(each for each in RIVALS if not each.peer.missing())]
    with scene.directory() as directory, server.on_socket(directory) as nbdkit:
        for number, subject in interleaved(subjects, scene.effort.rounds):
            with scene.running(subject.peer, nbdkit) as pair, ExitStack() as quotas:
                watch = Watch(pair, subject, where, quotas)
                load = Load("write", 2 * scene.effort.seconds, connections=CHANNELS, warm_up=WARM_UP)
                result = run(load, uri(pair.entrance), directory, watch.look)
            cores = between(watch.used, WARM_UP)
            figures = {"total_mb_s": result.mb_s, "mb_cpu_s": result.mb_s / cores, "cores": cores}
            yield Sample(CORES.name, subject.name, number, figures, SETTING)


@dataclass
class Watch:
    """Looks at a tunnel under load: notes what it has used, and holds it to its shares once it is under way."""

    pair: Pair
    subject: Subject
    where: Hierarchy
    quotas: ExitStack
    used: list[tuple[float, float]] = field(default_factory=list)
    """When it was looked at, and the CPU seconds of both ends by then."""
    held: bool = False

    def look(self) -> None:
        self.used.append((time.monotonic(), sum(cpu_seconds(end.pid) for end in self.pair.ends)))
        if not self.held and self.used[-1][0] - self.used[0][0] >= FREE:
            self.hold()

    def hold(self) -> None:
        """Each process of nbdtun's has its share; another's end, with all threads and what it has forked, has that of so many cores."""
        self.held, mine = True, self.subject in (*OURS, PLAIN)
        for end in self.pair.ends:
            if mine:
                for pid in family(end.pid):
                    self.quotas.enter_context(held_to(SHARE, pid, self.where))
            else:
                self.quotas.enter_context(held_to(SHARE * self.subject.count, end.pid, self.where, *family(end.pid)))


def between(used: list[tuple[float, float]], after: float) -> float:
    """Cores that were used, from so many seconds after the first look on, to the last but one: fio ends before it is seen to have."""
    began = used[0][0] + after
    counted = [each for each in used if each[0] >= began][:-1]
    (first, before), (last, now) = counted[0], counted[-1]
    return (now - before) / (last - first)


CORES = Measure("cores", f"{CHANNELS} channels on more cores", COLUMNS, measure)
