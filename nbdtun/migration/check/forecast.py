"""
How long a migration will take, and whether it comes to an end: arithmetic, no I/O.

The model is QEMU's own way of working:

- The mirrors copy what there is, and what the guest writes meanwhile once more. So ``B`` bytes take ``B / (rate - writes)`` seconds; a
  guest that writes as fast as the bytes go is never caught up with.
- The memory is sent in rounds, each of what was changed during the one before, while the mirrors go on carrying the guest's writes. Each
  round is ``dirty / rate`` of the one before. QEMU pauses the guest when the rest fits into the downtime that is allowed.
- The guest stands still for that rest, for the messages between the ends, and while both QEMUs end the mirrors and move the devices' state.

It mostly errs on the safe side: a guest that writes one page or one sector again and again counts as one that changes always new ones, and
all RAM counts as in use. Not so with small writes all over a disk, each of which makes a mirror copy its surroundings too (64 KiB).
"""

from __future__ import annotations

import math
from typing import Any

from attrs import frozen

#: Round trips between the ends while the guest stands still; see ``docs/phases``.
MESSAGES = 4

#: Seconds that the two QEMUs need for themselves: 0.03 to 0.15 were measured with small guests.
SWITCHING = 0.1


@frozen
class Load:
    """Bytes to copy of the disks and the RAM, and bytes per second that the guest changes of each."""

    disks: int
    memory: int
    writes: float = 0.0
    dirty: float = 0.0


@frozen
class Path:
    """
    What the load goes through: ``rate`` in bytes per second and ``round_trip`` in seconds as measured, ``limit`` (``--bandwidth``, or None)
    and ``downtime`` (``--downtime``, seconds) as asked for.
    """

    rate: float
    round_trip: float = 0.0
    limit: float | None = None
    downtime: float = 0.3

    def for_disks(self) -> float:
        """Bytes per second that the mirrors have together."""
        return self.rate if self.limit is None else min(self.rate, self.limit)

    def for_memory(self, writes: float) -> float:
        """Bytes per second that the memory has; the guest's writes come on top of the limit."""
        left = max(0.0, self.rate - writes)
        return left if self.limit is None else min(left, self.limit)


@frozen
class Forecast:
    """Seconds for the disks, for the memory, and of downtime; None: that never ends, or is never reached."""

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
        """As a part of what ``nbdtun check --json`` prints."""
        times = {"disks": self.disks, "memory": self.memory, "downtime": self.downtime, "total": self.total}
        return {name: None if seconds is None else round(seconds, 3) for name, seconds in times.items()}


def forecast(load: Load, path: Path) -> Forecast:
    """Reckon what becomes of ``load`` on ``path``."""
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
    Seconds of the rounds, and of what is left for the downtime; None if that never becomes short enough.

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
