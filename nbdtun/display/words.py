"""The words and figures of the displays for people: the same on a terminal and in a log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from nbdtun.errors import printable
from nbdtun.migration.progress import GuestState, Phase, Progress
from nbdtun.units import duration_text, milliseconds_text, moment_text, rate_text, size_text

PHASES: Final = {
    Phase.PREPARE: "preparing",
    Phase.MIRROR: "copying disks",
    Phase.READY: "disks in sync",
    Phase.HOLDING: "holding",
    Phase.RAM: "copying memory",
    Phase.SWITCHOVER: "switching over",
    Phase.FINISH: "starting at the destination",
    Phase.SETTLE: "runs at the destination, watched",
    Phase.ROLLBACK: "rolling back",
    Phase.COMPLETED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "rolled back",
    Phase.UNKNOWN: "outcome unknown",
    Phase.LOST: "lost",
}

#: What became of the VM; :func:`outcome` also says what a guest does that was not migrated. The caller prints the error itself.
OUTCOMES: Final = {
    Phase.COMPLETED: "runs at the destination",
    Phase.FAILED: "was not migrated",
    Phase.CANCELLED: "was not migrated",
    Phase.UNKNOWN: "was handed over; it may be running at the destination",
    Phase.LOST: "was lost at the destination",
}

STAYS: Final = {
    GuestState.RUNS: "it is still running at the source",
    GuestState.PAUSED: "it is paused at the source",
}

MEMORY: Final = "memory"

#: From here on the disks are in sync, and stay so: a write of the guest is not complete before it is at both ends, or soon is.
_IN_SYNC: Final = (Phase.READY, Phase.HOLDING, Phase.RAM, Phase.SWITCHOVER, Phase.FINISH, Phase.COMPLETED)
#: The phases in which the guest runs at the source.
_AT_SOURCE: Final = (Phase.PREPARE, Phase.MIRROR, Phase.READY, Phase.HOLDING, Phase.RAM)


@frozen
class Row:
    """A disk or the memory, and how much of it is copied; ``synced``: it was complete, and is kept so."""

    name: str
    done: int
    total: int
    synced: bool = False

    @property
    def complete(self) -> bool:
        """Whether there is something to copy, and none of it is left."""
        return self.synced or 0 < self.total <= self.done

    @property
    def fraction(self) -> float:
        """The part that is done, 0 to 1."""
        return 1.0 if self.complete else self.done / self.total if self.total else 0.0

    @property
    def percentage(self) -> str:
        """The share as text; 100 % only when nothing is left."""
        return f"{math.floor(self.fraction * 100)} %"


def rows(progress: Progress) -> Iterator[Row]:
    """Every disk, then the memory."""
    for disk in progress.disks:
        yield Row(printable(disk.node), disk.done, disk.total, progress.phase in _IN_SYNC)
    yield Row(MEMORY, progress.ram.done, progress.ram.total)


def clock_text(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``: a time of nearly constant width."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def link_words(progress: Progress, vm: str) -> list[str]:
    """Words for a link that is silent or lost, and for past outages; none while it has always been up."""
    link = progress.link
    if link.lost_for is not None:
        more = "" if link.retry_for is None else f" for {clock_text(link.retry_for)} more"
        words = [f"link lost {link.lost_for:.0f} s, retrying{more}"]
        runs = progress.phase in _AT_SOURCE and progress.guest is GuestState.RUNS
        return [*words, f"{vm} keeps running here"] if runs else words
    if link.silent_for is not None and not progress.phase.final:
        return [f"nothing from the destination for {link.silent_for:.0f} s"]
    if link.given_up and not progress.phase.final:
        return ["the link is given up"]
    if not link.outages:
        return []
    times = "once for" if link.outages == 1 else f"{link.outages} times, for"
    again = f", {size_text(link.replayed)} sent again" if link.replayed else ""
    return [f"link lost {times} {duration_text(link.down)}{again}"]


def outcome(progress: Progress) -> str:
    """Where the VM is after a final phase."""
    words = OUTCOMES[progress.phase]
    stays = STAYS.get(progress.guest) if progress.phase in (Phase.FAILED, Phase.CANCELLED) else None
    return f"{words}; {stays}" if stays else words


def phase_words(progress: Progress) -> str:
    """The phase; and what a migration that is held waits for."""
    words = PHASES[progress.phase]
    if progress.phase is not Phase.HOLDING:
        return words
    return f"{words} until {moment_text(progress.switchover_at, progress.time)}" if progress.switchover_at else f"{words} until told"


def converge_words(progress: Progress) -> list[str]:
    """Words for the measures that make it converge, and for their cause; none while there are none."""
    measures = progress.converge
    waiting = [printable(name) for name in measures.write_blocking]
    words = [f"{printable(name)} is not converging" for name in measures.lagging if name not in measures.write_blocking]
    if waiting and progress.phase in (Phase.MIRROR, Phase.READY, Phase.HOLDING, Phase.RAM):
        words.append(f"guest writes to {', '.join(waiting)} wait for the copy")
    if progress.phase is Phase.HOLDING and progress.ram.done:
        words.append(f"memory at least {size_text(progress.ram.total - progress.ram.done)} behind")
    if progress.phase is Phase.RAM:
        words += [f"pass {measures.passes}"] if measures.passes > 2 else []
        words += [f"guest slowed by {measures.throttle} %"] if measures.throttle else []
    if measures.downtime is not None:
        words.append(f"downtime up to {duration_text(measures.downtime)}")
    return [*words, "guest paused"] if measures.forced else words


def summary_words(progress: Progress) -> list[str]:
    """All figures of the summary."""
    return [*time_words(progress), *volume_words(progress)]


def time_words(progress: Progress) -> list[str]:
    """How long it took."""
    words = [f"total {duration_text(progress.elapsed)}"]
    return words if progress.downtime_ms is None else [*words, f"downtime {duration_text(progress.downtime_ms / 1000)}"]


def pause_words(progress: Progress) -> list[str]:
    """What the downtime was made of; none where that is not known."""
    pause = progress.pause
    if pause is None:
        return []
    parts = (("the disks' last writes", pause.drain), ("the last of the memory", pause.memory), ("the handover", pause.handover))
    words = [f"{name} {duration_text(seconds)}" for name, seconds in parts]
    return words if pause.round_trip is None else [*words, f"a round trip is {milliseconds_text(pause.round_trip)}"]


def volume_words(progress: Progress) -> list[str]:
    """What was copied, and how much of it was sent: holes are not."""
    disks, memory = sum(disk.done for disk in progress.disks), progress.ram.done
    copied = [f"{size_text(size)} of {what}" for size, what in ((disks, "disks"), (memory, "memory")) if size]
    words = [" and ".join(copied)] if copied else []
    if sent := progress.link.sent:
        words.append(f"{size_text(sent)} sent" + (f" at {rate_text(sent / progress.elapsed)}" if progress.elapsed >= 1 else ""))
    return words
