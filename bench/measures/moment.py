"""The moment in which the guest stands still: small migrations in pairs, direct and by `nbdtun migrate`, with one disk and with eight.

It lasts from QEMU's STOP event at the source to its RESUME event at the destination, by their own timestamps.
Both ways aim for a short downtime. With QEMU's 300 ms, a small guest's whole memory is sent while it stands still,
and that copy, 200 ms here, hides what the switchover itself costs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.columns import Column
from bench.measures.measure import Measure
from bench.measures.migration import MIGRATE, by_command, direct, downtime
from bench.peers import DIRECT
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab import guest
from lab.disks import MIB
from lab.pair import Pair, Plan

SIZE = 16 * MIB
DISKS = (1, 8)
PAIRS = 20
LIMIT_MS = 20
WAYS = ((DIRECT.name, direct), (MIGRATE, by_command))
COLUMNS = (Column("downtime_ms", "downtime\nms"),)


def setting(disks: int) -> str:
    return "1 disk" if disks == 1 else f"{disks} disks"


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Both ways in every round, which begins with another one each time."""
    behaves = guest.build()
    for disks in DISKS:
        for number, (name, move) in interleaved(WAYS, 1 if scene.effort.quick else PAIRS):
            plans = [Plan(SIZE, filled=1.0) for _ in range(disks)]
            with tempfile.TemporaryDirectory(prefix="nb-") as home, Pair(Path(home), behaves, plans) as pair:
                pair.source.wait_ticks(10)
                move(pair, scene, LIMIT_MS)
                figures = {"downtime_ms": downtime(pair)}
            yield Sample(MOMENT.name, name, number, figures, setting(disks))


MOMENT = Measure("moment", "The moment of a migration", COLUMNS, measure)
