"""Cores: two of this machine's stand for two hosts, and what belongs to a host stays on its own.

Left to the scheduler, the four programs of a run share two cores here, and it mixes
them the more, the more there is to do. On two hosts there is nothing to mix.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """Of the source's host and of the destination's; any where it is None."""

    source: int | None = None
    destination: int | None = None


def a_core_for_each() -> Cores | None:
    """Two cores that this process may use; None if it may not use two."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(*usable[:2]) if len(usable) > 1 else None


@contextmanager
def started_on(core: int | None) -> Iterator[None]:
    """What is started meanwhile stays on this core."""
    before = os.sched_getaffinity(0)
    move(0, core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, core: int | None) -> None:
    """A process of one thread stays on this core from now on."""
    if core is not None:
        os.sched_setaffinity(pid, {core})
