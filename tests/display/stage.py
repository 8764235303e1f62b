"""A migration in three pictures, for every display."""

from __future__ import annotations

from attrs import evolve

from nbdtun.display import Display
from nbdtun.migration.progress import DiskProgress, GuestState, MemoryProgress, Phase, Progress

GIB, MIB = 2**30, 2**20
START = Progress(time=1e9, elapsed=0.0, phase=Phase.PREPARE)
MIRROR = evolve(
    START,
    elapsed=42.0,
    phase=Phase.MIRROR,
    disks=(DiskProgress("vda", 10 * GIB, 5 * GIB), DiskProgress("data", GIB, GIB)),
    rate=400.0 * MIB,
    eta=12.8,
    guest=GuestState.RUNS,
)
END = evolve(MIRROR, elapsed=60.0, phase=Phase.COMPLETED, ram=MemoryProgress(2 * GIB, 2 * GIB), rate=0.0, eta=None, downtime_ms=87.2)


def run(display: Display, *progresses: Progress) -> None:
    for progress in progresses:
        display.show(progress)
