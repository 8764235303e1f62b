"""
How many VMs a destination receives at a time, and how much memory and disk space are free for them. The sources of others are told to wait.

Linux estimates what can be used without swapping: ``MemAvailable`` (proc_meminfo(5)).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen

from nbdtun.errors import DestinationFailed, TooManyArrivals, printable

_AVAILABLE: Final = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)

#: Where the settings say nothing.
MOST: Final = 100


@define
class Capacity:
    """
    The VMs that may arrive at a time; it may change at any time, for those to come. So many arrive ``elsewhere``, in another process of the
    same daemon.
    """

    most: int = MOST
    elsewhere: int = 0

    def admit(self, vm: str, arriving: int) -> None:
        """
        Let ``vm`` arrive besides so many that do.

        :raise TooManyArrivals: there is no room for it.
        """
        arriving += self.elsewhere
        if arriving >= self.most:
            what = f"{vm}: the destination receives {arriving} VM{'s' * (arriving != 1)} already, as many as it may"
            raise TooManyArrivals(what, "try again later, or raise --max-arrivals there")


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """
    Bytes of this host's memory that are free for guests.

    :raise DestinationFailed: the kernel does not tell.
    """
    try:
        found = _AVAILABLE.search(meminfo.read_text())
    except OSError as error:
        raise DestinationFailed(f"{meminfo}: {error.strerror}") from error
    if found is None:
        raise DestinationFailed(f"{meminfo} does not tell how much memory is available")
    return int(found[1]) * 1024


@frozen
class Space:
    """
    Disk space at a destination, in bytes: how much of what is ``free`` is ``needed``.

    ``system`` tells it from all other space of that host: the number of a file system, or the name of a pool. ``place`` is a directory in
    it, for people.
    """

    system: str
    place: str = field(converter=printable)
    needed: int
    free: int

    @property
    def lacks(self) -> bool:
        """Whether there is not enough."""
        return self.needed > self.free


def space_at(directory: str, needed: int, place: str = "") -> Space:
    """
    The space in a directory, which is called ``place``.

    :raise OSError: it cannot be read.
    """
    told = os.statvfs(directory)
    return Space(f"{os.stat(directory).st_dev}", place or directory, needed, told.f_bavail * told.f_frsize)


def summed(spaces: Iterable[Space]) -> tuple[Space, ...]:
    """What is needed altogether, once for each system; of what it was told to have free, the least."""
    found: dict[str, Space] = {}
    for space in spaces:
        known = found.get(space.system)
        both = space if known is None else evolve(known, needed=known.needed + space.needed, free=min(known.free, space.free))
        found[space.system] = both
    return tuple(found.values())
