"""
How long a migration will take, and whether it will converge: arithmetic, no I/O.

The model follows QEMU:

- The mirrors copy the present data, and again all that the guest writes meanwhile. So ``B`` bytes take ``B / (rate - writes)`` seconds; the
  mirrors never catch up with a guest that writes as fast as they copy.
- The memory is sent in rounds, each with the pages that changed during the one before, while the mirrors go on carrying the guest's writes.
  Each round is ``dirty / rate`` of the one before. QEMU pauses the guest when the rest fits into the allowed downtime.
- The guest is paused for that rest, for the messages between the ends, and while both QEMUs end the mirrors and move the devices' state.

It mostly errs on the safe side: repeated writes to one page or sector count as writes to new ones, and all RAM counts as in use. The
exception is small writes all over a disk: each makes a mirror copy its surroundings too (64 KiB).
"""

from __future__ import annotations

import math
from typing import Any

from attrs import frozen

#: Round trips between the ends while the guest is paused; see ``docs/phases``.
MESSAGES = 3

#: Seconds that the two QEMUs need for themselves: 0.03 to 0.15 were measured with small guests.
SWITCHING = 0.1


@frozen
class Load:
    """Bytes of the disks and the RAM to copy, and bytes per second of each that the guest changes."""

    disks: int
    memory: int
    writes: float = 0.0
    dirty: float = 0.0


@frozen
class Path:
    """
    The path of the load: ``rate`` in bytes per second and ``round_trip`` in seconds as measured, ``limit`` (``--bandwidth``, or None) and
    ``downtime`` (``--downtime``, seconds) as requested.
    """

    rate: float
    round_trip: float = 0.0
    limit: float | None = None
    downtime: float = 0.3

    def for_disks(self) -> float:
        """Bytes per second for all mirrors together."""
        return self.rate if self.limit is None else min(self.rate, self.limit)

    def for_memory(self, writes: float) -> float:
        """Bytes per second for the memory; the guest's writes come on top of the limit."""
        left = max(0.0, self.rate - writes)
        return left if self.limit is None else min(left, self.limit)


@frozen
class Forecast:
    """Seconds for the disks, for the memory, and of downtime; None: it never ends, or is never reached."""

    disks: float | None
    memory: float | None
    downtime: float | None

    @property
    def total(self) -> float | None:
        """Seconds for everything; None if it does not converge."""
        if self.disks is None or self.memory is None or self.downtime is None:
            return None
        return self.disks + self.memory + self.downtime

    def as_json(self) -> dict[str, Any]:
        """A part of the object that ``nbdtun check --json`` prints."""
        times = {"disks": self.disks, "memory": self.memory, "downtime": self.downtime, "total": self.total}
        return {name: None if seconds is None else round(seconds, 3) for name, seconds in times.items()}


def forecast(load: Load, path: Path) -> Forecast:
    """Compute the times for ``load`` on ``path``."""
    disks = _catching_up(load.disks, path.for_disks(), load.writes)
    if disks is None:
        return Forecast(None, None, None)
    rate = path.for_memory(load.writes)
    rounds = _rounds(load.memory, rate, load.dirty, path.downtime)
    if rounds is None:
        return Forecast(disks, None, None)
    memory, rest = rounds
    return Forecast(disks, memory, rest + MESSAGES * path.round_trip + SWITCHING)


def _catching_up(size: float, rate: float, writes: float) -> float | None:
    if rate <= writes:
        return None if size or writes else 0.0
    return size / (rate - writes)


def _rounds(size: float, rate: float, dirty: float, downtime: float) -> tuple[float, float] | None:
    """
    Seconds of the rounds, and of the rest in the downtime; None if the rest never becomes short enough.

    The rounds are ``t, t q, t q q``... seconds long: the last is the first that is not longer than the downtime.
    """
    if rate <= 0:
        return None if size else (0.0, 0.0)
    first, shrinks = size / rate, dirty / rate
    if first <= downtime:
        return 0.0, first
    if shrinks >= 1:
        return None
    if shrinks == 0:
        return first, 0.0
    count = math.ceil(math.log(downtime / first) / math.log(shrinks))
    rest = first * shrinks**count
    return first * (1 - shrinks**count) / (1 - shrinks), min(rest, downtime)
