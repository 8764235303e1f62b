"""What the displays for people say: the same words and figures on a terminal and in a log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from nbdtun.errors import printable
from nbdtun.migration.progress import Phase, Progress
from nbdtun.units import duration_text, rate_text, size_text

PHASES: Final = {
    Phase.PREPARE: "preparing",
    Phase.MIRROR: "copying disks",
    Phase.READY: "disks are in step",
    Phase.RAM: "copying memory",
    Phase.SWITCHOVER: "switching over",
    Phase.FINISH: "starting at the destination",
    Phase.COMPLETED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "rolled back",
    Phase.UNKNOWN: "outcome unknown",
}

# The error itself is its caller's to print; here stands where the VM is now.
OUTCOMES: Final = {
    Phase.COMPLETED: "runs at the destination",
    Phase.FAILED: "was not migrated, and is at the source as before",
    Phase.CANCELLED: "was not migrated, and is at the source as before",
    Phase.UNKNOWN: "is paused at the source; whether it runs at the destination is not known",
}

MEMORY: Final = "memory"


@frozen
class Row:
    """One thing that is copied: a disk, or the memory."""

    name: str
    done: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether nothing is left, of something."""
        return 0 < self.total <= self.done

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def percentage(self) -> str:
        """The same for people; 100 % only when nothing is left."""
        return f"{math.floor(self.share * 100)} %"


def rows(progress: Progress) -> Iterator[Row]:
    """Every disk, then the memory."""
    for disk in progress.disks:
        yield Row(printable(disk.node), disk.done, disk.total)
    yield Row(MEMORY, progress.ram.done, progress.ram.total)


def clock_text(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``: a time whose width stays while it runs."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def link_words(progress: Progress) -> list[str]:
    """What is worth knowing of the tunnel: nothing, while nothing has happened."""
    link = progress.link
    words = [str(link)] if link.lost_for is not None else []
    if link.resumes:
        words.append(f"{link.resumes} {'resume' if link.resumes == 1 else 'resumes'}, {size_text(link.replayed)} replayed")
    return words


def converge_words(progress: Progress) -> list[str]:
    """What is done so that it comes to its end, and why; nothing, while nothing is."""
    measures = progress.converge
    waiting = [printable(name) for name in measures.write_blocking]
    words = [f"{printable(name)} gets no closer" for name in measures.lagging if name not in measures.write_blocking]
    if waiting and progress.phase in (Phase.MIRROR, Phase.READY, Phase.RAM):
        words.append(f"writes to {', '.join(waiting)} wait")
    if progress.phase is Phase.RAM:
        words += [f"pass {measures.passes}"] if measures.passes > 2 else []
        words += [f"guest slowed by {measures.throttle} %"] if measures.throttle else []
    if measures.downtime is not None:
        words.append(f"downtime up to {duration_text(measures.downtime)}")
    return [*words, "guest paused"] if measures.forced else words


def summary_words(progress: Progress) -> list[str]:
    """The figures at the end: times, bytes, mean rate."""
    words = [f"total {duration_text(progress.elapsed)}"]
    if progress.downtime_ms is not None:
        words.append(f"downtime {duration_text(progress.downtime_ms / 1000)}")
    moved = sum(row.done for row in rows(progress))
    if moved:
        words.append(size_text(moved) + (f" at {rate_text(moved / progress.elapsed)}" if progress.elapsed >= 1 else ""))
    return words
