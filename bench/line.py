"""A line of some length between the two ends of a pair: `ends/line.c` as a process, and its device."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers.portforward import ENDS
from lab.process import Process

GIGABIT = 125_000_000
"""Bytes a second of 1 Gbit/s."""

NEAR, FAR, FAR_SEEN = "198.18.0.1", "198.18.0.2", "198.18.0.4"
"""The addresses of its two ends, and what the far one is called at the near one; for tests between networks (RFC 2544)."""


@dataclass(frozen=True)
class Length:
    """What a line is like."""

    round_trip_ms: float
    losses: int = 0
    """Of a million packets."""
    congestion: str = ""
    """Both ends' congestion control, by its name in the kernel; the host's own if empty."""
    rate: float = GIGABIT

    def __str__(self) -> str:
        lost = f", {self.losses / 10_000:.1g} % lost" if self.losses else ""
        return f"{self.round_trip_ms:g} ms{lost}{f', {self.congestion}' if self.congestion else ''}"

    @property
    def queue(self) -> int:
        """Bytes that may wait before it: half of what it holds, 1 MB at least."""
        return max(1_000_000, int(self.rate * self.round_trip_ms / 2000))


def unable() -> str:
    """Why there can be no line here; empty if there can."""
    if os.geteuid() != 0:
        return "a line takes root"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    return next((f"{name} is not installed" for name in ("cc", "ip") if not shutil.which(name)), "")


@contextmanager
def line(directory: Path, length: Length, seed: int = 1) -> Iterator[None]:
    """As long as it lasts, `FAR_SEEN` is as far from `NEAR` as that."""
    program = directory / "line"
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-o", program, ENDS / "line.c"], check=True)
    words = (f"{word}" for word in (length.round_trip_ms, length.rate, length.queue, length.losses, seed))
    with Process([program, *words], directory / "line.log") as process:
        process.wait_log("ready")
        for address in (NEAR, FAR):
            _ip("address", "add", f"{address}/24", "dev", "line")
        _ip("link", "set", "line", "mtu", "1500", "txqueuelen", "10000", "up")
        control = ["congctl", length.congestion] if length.congestion else []
        _ip("route", "replace", "198.18.0.0/24", "dev", "line", "src", NEAR, *control)
        yield


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
