"""The moment in which the guest stands still: small migrations in pairs, direct and by `nbdtun migrate`, with one disk and with eight.

It lasts from QEMU's STOP event at the source to its RESUME event at the destination, by their own timestamps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.columns import Column
from bench.measures.measure import Measure
from bench.measures.migration import DIRECT_WAY, MIGRATE_WAY, downtime
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab import guest
from lab.disks import MIB
from lab.pair import Pair, Plan

SIZE = 16 * MIB
DISKS = (1, 8)
PAIRS = 20
COLUMNS = (Column("downtime_ms", "downtime\nms"),)


def setting(disks: int) -> str:
    return "1 disk" if disks == 1 else f"{disks} disks"


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Both ways in every round, which begins with another one each time."""
    behaves = guest.build()
    for disks in DISKS:
        for number, way in interleaved((DIRECT_WAY, MIGRATE_WAY), 1 if scene.effort.quick else PAIRS):
            plans = [Plan(SIZE, filled=1.0) for _ in range(disks)]
            with tempfile.TemporaryDirectory(prefix="nb-") as name, Pair(Path(name), behaves, plans) as pair:
                pair.source.wait_ticks(10)
                way.move(pair, scene)
                figures = {"downtime_ms": downtime(pair)}
            yield Sample(MOMENT.name, way.name, number, figures, setting(disks))


MOMENT = Measure("moment", "The moment of a migration", COLUMNS, measure)
