"""A line of some length between the two ends of a pair: `ends/line.py` as a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.portforward import end
from lab.daemon import free_port, listening
from lab.process import wait

GIGABIT = 125_000_000
"""Bytes a second of 1 Gbit/s."""


@contextmanager
def line(directory: Path, forward: int, round_trip_ms: float, rate: float = GIGABIT) -> Iterator[int]:
    """The port at its near end."""
    port = free_port()
    arguments = [f"{port}", f"{forward}", f"{round_trip_ms}", f"{rate}"]
    with end("line.py", *arguments, log=directory / "line.log") as process:
        wait(lambda: listening(port), 10, "the line's port", process)
        yield port
