"""
How the bandwidth of all is divided between the VMs under way. No I/O.

Memory goes ahead of disks: a guest is slowed down, or kept waiting, while its memory is behind. So the disks share an eighth of all while
any memory is being copied, enough that none of them stands still. Within a kind all get the same, however large they are.

Without a limit the disks give way to the one guest that switches over: their connections would leave its memory only an equal part of the
line, and all others would wait for it. They keep a third of what the line has carried, as a line is never known exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from attrs import field, frozen

from nbdtun.migration.progress import Phase

#: The part that disks share while memory is copied: one of so many.
DISKS_PART: Final = 8

#: The same where no limit is known.
YIELD_PART: Final = 3

#: The phases in which memory is copied.
MEMORY: Final = (Phase.RAM, Phase.SWITCHOVER, Phase.FINISH)

#: The least that a migration is told, in bytes per second: 0 would mean no limit.
LEAST: Final = 64 * 1024


@frozen
class Parts:
    """
    Bytes per second for each VM. ``shares`` are those of a limit of all together: a VM keeps its own when its engine is killed. ``yields``
    are for a moment.
    """

    shares: Mapping[str, int] = field(factory=dict)
    yields: Mapping[str, int] = field(factory=dict)


def parts(total: int, line: int, phases: Mapping[str, Phase], turn: Collection[str]) -> Parts:
    """The parts of a limit of ``total``, or, where that is 0, what disks yield; see :func:`shares` and :func:`yielding`."""
    return Parts(shares=shares(total, phases)) if total else Parts(yields=yielding(line, phases, turn))


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


def yielding(line: int, phases: Mapping[str, Phase], turn: Collection[str]) -> dict[str, int]:
    """
    Bytes per second for each VM whose disks are copied, while one of those in ``turn`` sends its memory; nothing while none does.

    ``line`` is what all together have carried, in bytes per second, 0 if that is not known.
    """
    disks = [vm for vm, phase in phases.items() if phase is Phase.MIRROR and vm not in turn]
    if not line or not any(phases.get(vm) in (Phase.RAM, Phase.SWITCHOVER) for vm in turn):
        return {}
    return {vm: max(LEAST, line // YIELD_PART // len(disks)) for vm in disks}
