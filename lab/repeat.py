"""A guest with a disk of 1 GiB moves again and again: `python -m lab.repeat --times 20` prints a line for each time, and the spread."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import guest
from lab.crossing import Crossing, certificates
from lab.disks import MIB
from lab.pair import Pair, Plan


@dataclass(frozen=True)
class Moved:
    """One migration: how long it took, for how long the guest stood still, and what is wrong afterwards."""

    seconds: float
    downtime_ms: float
    ticks: int
    faults: list[str]

    def __str__(self) -> str:
        verdict = "; ".join(self.faults[:3]) or f"all of {self.ticks} ticks are there"
        return f"{self.seconds:5.2f} s, downtime {self.downtime_ms:6.1f} ms, {verdict}"


def move(size: int) -> Moved:
    """Move a fresh guest once."""
    # Short, because a UNIX socket's path ends at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        directory = Path(name)
        with Pair(directory, guest.build(), [Plan(size)]) as pair, Crossing(pair, certificates(directory / "tls")) as crossing:
            pair.source.wait_ticks(20)
            attempt = crossing.migrate()
            if status := attempt.wait_exit(300):
                return Moved(0, 0, 0, [f"exit status {status}: {attempt.log().strip()}"])
            ticks = pair.destination.wait_ticks(20)
            faults = pair.faults() + (["the source's QEMU is still there"] if pair.source.running() else [])
            first, last = attempt.reports()[0], attempt.last
            return Moved(last["time"] - first["time"], last["downtime_ms"], ticks, faults)


def spread(name: str, unit: str, values: Sequence[float]) -> str:
    return f"{name}: min {min(values):.2f}, median {statistics.median(values):.2f}, max {max(values):.2f} {unit}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--mib", type=int, default=1024, help="size of the disk, half of which is filled")
    options = parser.parse_args()
    done = []
    for number in range(options.times):
        done.append(move(options.mib * MIB))
        print(f"{number + 1:3}: {done[-1]}", flush=True)
    well = [moved for moved in done if not moved.faults]
    print(f"{len(well)} of {len(done)} without fault")
    if well:
        print(spread("total", "s", [moved.seconds for moved in well]))
        print(spread("downtime", "ms", [moved.downtime_ms for moved in well]))
    return 0 if len(well) == len(done) else 1


if __name__ == "__main__":
    sys.exit(main())
