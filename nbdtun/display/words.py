"""The words and figures of the displays for people: the same on a terminal and in a log."""

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
    Phase.READY: "disks in sync",
    Phase.RAM: "copying memory",
    Phase.SWITCHOVER: "switching over",
    Phase.FINISH: "starting at the destination",
    Phase.SETTLE: "runs at the destination, watched",
    Phase.COMPLETED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "rolled back",
    Phase.UNKNOWN: "outcome unknown",
    Phase.LOST: "lost",
}

#: Where the VM is now; the caller prints the error itself.
OUTCOMES: Final = {
    Phase.COMPLETED: "runs at the destination",
    Phase.FAILED: "was not migrated; it is at the source as before",
    Phase.CANCELLED: "was not migrated; it is at the source as before",
    Phase.UNKNOWN: "is paused at the source; it may be running at the destination",
    Phase.LOST: "is paused at the source; it was lost at the destination",
}

MEMORY: Final = "memory"


@frozen
class Row:
    """A disk or the memory, and how much of it is copied."""

    name: str
    done: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether there is something to copy, and none of it is left."""
        return 0 < self.total <= self.done

    @property
    def fraction(self) -> float:
        """The part that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def percentage(self) -> str:
        """The share as text; 100 % only when nothing is left."""
        return f"{math.floor(self.fraction * 100)} %"


def rows(progress: Progress) -> Iterator[Row]:
    """Every disk, then the memory."""
    for disk in progress.disks:
        yield Row(printable(disk.node), disk.done, disk.total)
    yield Row(MEMORY, progress.ram.done, progress.ram.total)


def clock_text(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``: a time of nearly constant width."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def link_words(progress: Progress) -> list[str]:
    """Words for lost links and resumes; none while the link has always been up."""
    link = progress.link
    words = [str(link)] if link.lost_for is not None else []
    if link.resumes:
        words.append(f"{link.resumes} {'resume' if link.resumes == 1 else 'resumes'}, {size_text(link.replayed)} replayed")
    return words


def converge_words(progress: Progress) -> list[str]:
    """Words for the measures that make it converge, and for their cause; none while there are none."""
    measures = progress.converge
    waiting = [printable(name) for name in measures.write_blocking]
    words = [f"{printable(name)} is not converging" for name in measures.lagging if name not in measures.write_blocking]
    if waiting and progress.phase in (Phase.MIRROR, Phase.READY, Phase.RAM):
        words.append(f"guest writes to {', '.join(waiting)} wait for the copy")
    if progress.phase is Phase.RAM:
        words += [f"pass {measures.passes}"] if measures.passes > 2 else []
        words += [f"guest slowed by {measures.throttle} %"] if measures.throttle else []
    if measures.downtime is not None:
        words.append(f"downtime up to {duration_text(measures.downtime)}")
    return [*words, "guest paused"] if measures.forced else words


def summary_words(progress: Progress) -> list[str]:
    """The figures of the summary: times, bytes, mean rate."""
    words = [f"total {duration_text(progress.elapsed)}"]
    if progress.downtime_ms is not None:
        words.append(f"downtime {duration_text(progress.downtime_ms / 1000)}")
    moved = sum(row.done for row in rows(progress))
    if moved:
        words.append(size_text(moved) + (f" at {rate_text(moved / progress.elapsed)}" if progress.elapsed >= 1 else ""))
    return words
