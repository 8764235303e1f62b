"""
How many VMs a destination receives at a time, and how much memory is free for them. The sources of others are told to wait.

Linux estimates what can be used without swapping: ``MemAvailable`` (proc_meminfo(5)).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from attrs import define

from nbdtun.errors import DestinationFailed, TooManyArrivals

_AVAILABLE: Final = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)

#: Where the settings say nothing.
MOST: Final = 100


@define
class Capacity:
    """The VMs that may arrive at a time; it may change at any time, for those to come."""

    most: int = MOST

    def admit(self, vm: str, arriving: int) -> None:
        """
        Let ``vm`` arrive besides so many that do.

        :raise TooManyArrivals: there is no room for it.
        """
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
