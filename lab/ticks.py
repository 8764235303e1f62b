"""The oracle: every tick that the guest reported must be on its disk.

The guest writes tick N to sector N mod SLOTS with fsync and reports it only
then. So a slot must hold the last reported tick that maps to it, or a later one.
"""

from __future__ import annotations

import itertools
import re

SECTOR = 512
SLOTS = 4096
REGION = SECTOR * SLOTS
"""The bytes at the start of a disk that ticks are written to."""

_LINE = re.compile(r"^tick (\d+)\r?$\n?", re.MULTILINE)
_LOAD = re.compile(r"^load (\d+)\r?$", re.MULTILINE)
_SECTOR = re.compile(rb"tick (\d+) *\n")


def reported(console: str) -> int:
    """The last tick on a console; 0 for none. A torn last line does not count."""
    whole = console[: console.rfind("\n") + 1]
    numbers = _LINE.findall(whole)
    return int(numbers[-1]) if numbers else 0


def loaded(console: str) -> int:
    """The KiB of its load that a guest has told of; 0 for none."""
    told = _LOAD.findall(console[: console.rfind("\n") + 1])
    return int(told[-1]) if told else 0


def gaps(console: str) -> list[int]:
    """The ticks after which the console does not go on with the next one."""
    numbers = [int(number) for number in _LINE.findall(console[: console.rfind("\n") + 1])]
    return [a for a, b in itertools.pairwise(numbers) if b != a + 1]


def due(slot: int, last: int, slots: int = SLOTS) -> int:
    """The last tick up to `last` that maps to a slot; 0 or less for none yet."""
    return last - (last - slot) % slots


def lost(region: bytes, last: int, slots: int = SLOTS) -> list[str]:
    """What is wrong with a disk's tick region, one line a slot; nothing is right."""
    found = []
    for slot in range(slots):
        wanted = due(slot, last, slots)
        sector = region[slot * SECTOR : (slot + 1) * SECTOR]
        if wanted >= 1 and (fault := _fault(sector, slot, wanted, slots)):
            found.append(f"slot {slot}: {fault}, tick {wanted} was reported")
    return found


def _fault(sector: bytes, slot: int, wanted: int, slots: int) -> str | None:
    match = _SECTOR.fullmatch(sector)
    if match is None:
        return f"no tick but {sector[:16]!r}"
    value = int(match[1])
    if value % slots != slot:
        return f"tick {value} of another slot"
    return f"tick {value}" if value < wanted else None
