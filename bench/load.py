"""The load: fio's NBD client, for a time, and what it counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.process import Process, wait

Way = Literal["write", "read"]
MB = 1_000_000
LOOK = 0.25
"""Seconds between two looks at it: each takes some time of the same processor."""


@dataclass(frozen=True)
class Load:
    """What to do: by default QEMU's mirror, 16 requests of 1 MiB in flight."""

    way: Way
    seconds: float
    block: str = "1M"
    depth: int = 16
    connections: int = 1
    warm_up: float = 0
    """Seconds that do not count, before those that do."""

    def command(self, uri: str, output: Path) -> list[str]:
        """fio's command line."""
        return [
            *("fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", "--size=1G"),
            *(f"--rw={self.way}", f"--bs={self.block}", f"--iodepth={self.depth}", f"--numjobs={self.connections}", "--thread"),
            *("--time_based", f"--runtime={round(self.seconds * 1000)}ms", f"--ramp_time={round(self.warm_up * 1000)}ms"),
            *("--output-format=json", f"--output={output}"),
        ]


@dataclass(frozen=True)
class Result:
    """What was moved, connection by connection."""

    counts: tuple[int, ...]
    """Bytes of each connection."""
    seconds: float
    """Of the longest."""
    median_us: float
    """Of a request's time from submission to completion, on the first connection."""
    p99_us: float

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(self.counts)

    @property
    def mb_s(self) -> float:
        """10^6 bytes a second, all connections together."""
        return self.bytes / self.seconds / MB

    @property
    def least_share(self) -> float:
        """What the slowest connection got, as a part of an equal share."""
        return min(self.counts) * len(self.counts) / self.bytes


def uri(socket: Path) -> str:
    """A UNIX socket, as NBD clients name it."""
    return f"nbd+unix:///?socket={socket}"


def run(load: Load, uri: str, directory: Path, watch: Callable[[], object] = lambda: None) -> Result:
    """Do it; `watch` is called now and then meanwhile. `RuntimeError` says what fio complained of."""
    output = directory / "fio.json"
    with Process(load.command(uri, output), directory / "fio.log") as fio:

        def ended() -> bool:
            watch()
            return not fio.running()

        wait(ended, load.seconds + load.warm_up + 30, "end of fio", pause=LOOK)
        if fio.returncode:
            raise RuntimeError(f"fio: {fio.log().strip()[-500:]}")
    text = output.read_text()
    return parse(json.loads(text[text.index("{") :]), load.way)  # the NBD client's own remarks come before it


def parse(report: dict[str, Any], way: Way) -> Result:
    """What fio's JSON says."""
    jobs = [job[way] for job in report["jobs"]]
    times = jobs[0]["clat_ns"].get("percentile", {"50.000000": 0, "99.000000": 0})
    counts = tuple(job["io_bytes"] for job in jobs)
    longest = max(job["runtime"] for job in jobs) / 1000
    return Result(counts, longest, times["50.000000"] / 1000, times["99.000000"] / 1000)
