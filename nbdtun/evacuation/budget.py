"""
How the bandwidth of all is divided between the VMs under way. No I/O.

Memory goes ahead of disks: a guest is slowed down, or kept waiting, while its memory is behind. So the disks share an eighth of all while
any memory is being copied, enough that none of them stands still. Within a kind all get the same, however large they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nbdtun.migration.progress import Phase

#: The part that disks share while memory is copied: one of so many.
DISKS_PART: Final = 8

#: The phases in which memory is copied.
MEMORY: Final = (Phase.RAM, Phase.SWITCHOVER, Phase.FINISH)

#: The least that a migration is told, in bytes per second: 0 would mean no limit.
LEAST: Final = 64 * 1024


def shares(total: int, phases: Mapping[str, Phase]) -> dict[str, int]:
    """Bytes per second for each VM, by the phase that it is in; nothing where ``total`` is 0, which is no limit."""
    if not total:
        return {}
    memory = [vm for vm, phase in phases.items() if phase in MEMORY]
    disks = [vm for vm in phases if vm not in memory]
    for_disks = total // DISKS_PART if memory else total
    parts = dict.fromkeys(disks, for_disks // len(disks)) if disks else {}
    if memory:
        parts |= dict.fromkeys(memory, (total - (for_disks if disks else 0)) // len(memory))
    return {vm: max(LEAST, part) for vm, part in parts.items()}
