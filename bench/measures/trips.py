"""Round trips within the moment of a migration: how often the other host is waited for while the guest stands still.

Each crossing of the line outweighs what the processes do meanwhile. So the pause, counted in crossings, is about the
number of those that were waited for, one after the other. The direct migration has a driver at both
ends at once, who waits for no line; what it waits for is QEMU's own. Both aim for a short downtime.

QEMU's own events divide the pause, in the same way for both: until QEMU has ended its requests and flushed its disks (*stop*), until the
mirrors have ended (*drain*), until the memory has arrived (*memory*), and until the guest runs (*handover*).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from bench.columns import Column
from bench.line import FAR, FAR_SEEN, Length, line, unable
from bench.measures.measure import Measure
from bench.measures.migration import MIGRATE, moment_of
from bench.measures.moment import LIMIT_MS
from bench.peers import DIRECT
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab import bare, guest
from lab.crossing import Crossing
from lab.daemon import free_port
from lab.disks import MIB
from lab.pair import Pair, Plan

SIZE = 16 * MIB
LENGTH = Length(50)
PAIRS = 10
PARTS = ("stop", "drain", "memory", "handover")
COLUMNS = (
    Column("trips", "round\ntrips", 1),
    Column("downtime_ms", "downtime\nms"),
    *(Column(f"{part}_ms", f"{part}\nms") for part in PARTS),
)


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Both ways in every round."""
    if reason := unable():
        scene.note(TRIPS.name, reason)
        return
    behaves = guest.build()
    for number, way in interleaved((DIRECT.name, MIGRATE), 1 if scene.effort.quick else PAIRS):
        with ExitStack() as ended:
            directory = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="nb-")))
            pair = ended.enter_context(Pair(directory, behaves, [Plan(SIZE, filled=1.0)]))
            ended.enter_context(line(directory, LENGTH, number))
            pair.source.wait_ticks(10)
            _direct(pair) if way == DIRECT.name else _migrate(pair, scene)
            figures = parts_of(moments(pair))
        yield Sample(TRIPS.name, way, number, figures, f"{LENGTH}")


def moments(pair: Pair) -> list[float]:
    """When each part began, and when the last one ended: seconds since the epoch, by the QEMUs' own clocks, which are one here."""
    source, destination = pair.source.qmp, pair.destination.qmp
    events = (
        source.wait_event("STOP", 5),
        source.wait_event("MIGRATION", 5, status="pre-switchover"),
        source.wait_event("MIGRATION", 5, status="device"),
        destination.wait_event("MIGRATION", 5, status="completed"),
        destination.wait_event("RESUME", 5),
    )
    return [moment_of(event) for event in events]


def parts_of(moments: list[float]) -> dict[str, float]:
    """The figures of a pause with these moments."""
    pause = (moments[-1] - moments[0]) * 1000
    parts = {f"{part}_ms": (end - begin) * 1000 for part, (begin, end) in zip(PARTS, pairwise(moments), strict=True)}
    return {"trips": pause / LENGTH.round_trip_ms, "downtime_ms": pause, **parts}


def _direct(pair: Pair) -> None:
    nbd, ram = (bare.TcpWay(FAR, FAR_SEEN, free_port()) for _ in range(2))
    bare.migrate(pair.source, pair.destination, nbd, ram, limit_ms=LIMIT_MS)


def _migrate(pair: Pair, scene: Scene) -> None:
    with Crossing(pair, scene.tls, listen=FAR, dial=FAR_SEEN) as crossing:
        attempt = crossing.migrate("--downtime", f"{LIMIT_MS}ms")
        if status := attempt.wait_exit(600):
            raise RuntimeError(f"nbdtun migrate: exit status {status}: {attempt.log().strip()[-500:]}")


TRIPS = Measure("trips", "Round trips while the guest stands still", COLUMNS, measure)
