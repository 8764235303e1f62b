"""All of an evacuation at one moment: for displays, for `nbdtun status`, and for the report at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import field, frozen

from nbdtun.evacuation.life import State
from nbdtun.evacuation.values import Entry
from nbdtun.migration.progress import Phase, Progress

#: The exit status for each end; the first that any VM has counts.
STATUSES: Final = ((State.UNKNOWN, 3), (State.LOST, 4), (State.STAYED, 1))


@frozen
class Overview:
    """
    The ``entries`` of all VMs, and the ``progress`` of those under way, at the ``time`` (seconds since the epoch).

    ``bandwidth`` is the limit of all together in bytes per second, 0 for none. ``stopping``: no more VMs are begun. ``open``: guests may
    switch over now. ``over``: all has ended.
    """

    time: float
    entries: tuple[Entry, ...]
    progress: Mapping[str, Progress] = field(factory=dict)
    bandwidth: int = 0
    stopping: bool = False
    open: bool = True
    over: bool = False

    @property
    def status(self) -> int:
        """The exit status: 0 all moved, 1 some stayed, 3 some unknown, 4 some lost."""
        states = {entry.state for entry in self.entries}
        return next((number for state, number in STATUSES if state in states), 0)

    def counts(self) -> dict[str, int]:
        """How many VMs are in each state; no state with none."""
        return dict(Counter(entry.state.value for entry in self.entries))

    def rows(self) -> Iterable[tuple[Entry, Progress | None]]:
        """Each VM, with the progress of one that is under way."""
        return ((entry, self.progress.get(entry.vm)) for entry in self.entries)

    def as_json(self) -> dict[str, Any]:
        """The object that ``nbdtun evacuate --progress json`` prints, and the report at the end."""
        return {
            "time": round(self.time, 3),
            "over": self.over,
            "stopping": self.stopping,
            "window_open": self.open,
            "bandwidth": self.bandwidth or None,
            "states": self.counts(),
            "status": self.status if self.over else None,
            "vms": [{**entry.as_json(), **_copied(progress)} for entry, progress in self.rows()],
        }


def done_of(progress: Progress) -> tuple[int, int]:
    """Bytes that are done, and all: of disks and memory."""
    disks = sum(disk.done for disk in progress.disks), sum(disk.total for disk in progress.disks)
    return disks[0] + progress.ram.done, disks[1] + progress.ram.total


def _copied(progress: Progress | None) -> dict[str, Any]:
    if progress is None or progress.phase is Phase.PREPARE:
        return {}
    done, total = done_of(progress)
    rate = None if progress.rate is None else round(progress.rate)
    return {"phase": progress.phase.value, "done": done, "total": total, "rate": rate, "eta": progress.eta, "link": progress.link.state}
