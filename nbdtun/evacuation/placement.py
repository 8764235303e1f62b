"""
Which VM goes to which destination: first fit decreasing, by groups that stay together.

The largest group is placed first. Of the destinations that can take all of its VMs, it gets the one with the most memory left; where a
destination does not tell its memory, the one that has been given the least.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import field, frozen

from nbdtun.evacuation.rules import Rules
from nbdtun.migration.capacity import Space, summed
from nbdtun.units import size_text


@frozen
class Wanted:
    """
    A VM that is to be placed; ``fits`` are the destinations that can take it by its check.

    ``spaces`` is the disk space that it needs at each of them; nothing where that is not told.
    """

    vm: str
    memory: int
    disks: int
    fits: tuple[str, ...]
    spaces: Mapping[str, tuple[Space, ...]] = field(factory=dict)

    @property
    def size(self) -> int:
        """All of it, in bytes."""
        return self.memory + self.disks


@frozen
class Room:
    """The memory that a destination has left, in bytes: -1 where it does not tell."""

    to: str
    memory: int = -1


@frozen
class Placed:
    """``to`` maps VMs to destinations, ``refused`` the other VMs to the reason."""

    to: Mapping[str, str] = field(factory=dict)
    refused: Mapping[str, str] = field(factory=dict)


def place(vms: Sequence[Wanted], rooms: Sequence[Room], rules: Rules) -> Placed:
    """Place them all, as far as there is room."""
    to: dict[str, str] = {}
    refused: dict[str, str] = {}
    known = {each.vm: each for each in vms}
    groups = [[known[vm] for vm in group] for group in rules.groups(known)]
    for group in sorted(groups, key=lambda group: (-sum(each.size for each in group), group[0].vm)):
        why = {room.to: _unfit(group, room, to, known, rules) for room in rooms}
        fit = [room for room in rooms if not why[room.to]]
        if fit:
            best = max(fit, key=lambda room: _left(room, to, known))
            to |= {each.vm: best.to for each in group}
        else:
            refused |= {each.vm: "; ".join(filter(None, why.values())) for each in group}
    return Placed(to, refused)


def _unfit(group: Collection[Wanted], room: Room, to: Mapping[str, str], known: Mapping[str, Wanted], rules: Rules) -> str:
    """Why a group cannot go to a destination; empty if it can."""
    names = {each.vm for each in group}
    for each in group:
        if room.to not in each.fits:
            return f"{each.vm} cannot go to {room.to}" if len(group) > 1 else f"it cannot go to {room.to}"
        if rules.pins.get(each.vm, room.to) != room.to:
            return f"{each.vm} is pinned to {rules.pins[each.vm]}"
        there = {vm for vm, host in to.items() if host == room.to} | names
        if others := sorted(rules.apart_from(each.vm) & there):
            return f"{each.vm} must not be with {', '.join(others)} at {room.to}"
    every = [*(known[vm] for vm, host in to.items() if host == room.to), *group]
    needs = sum(each.memory for each in every)
    if 0 <= room.memory < needs:
        return f"{room.to} has {size_text(room.memory)} of memory free, and would need {size_text(needs)}"
    for space in summed(space for each in every for space in each.spaces.get(room.to, ())):
        if space.lacks:
            return f"{room.to} has {size_text(space.free)} free at {space.place}, and the disks would need {size_text(space.needed)}"
    return ""


def _left(room: Room, to: Mapping[str, str], known: Mapping[str, Wanted]) -> tuple[int, int]:
    given = sum(known[vm].memory for vm, host in to.items() if host == room.to)
    return room.memory - given if room.memory >= 0 else -given, -given
