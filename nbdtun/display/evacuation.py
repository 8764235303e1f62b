"""
The evacuation of a host: a live table on a terminal, lines where there is none, JSON for programs, or nothing.

The table has a row for each VM from the start, and each keeps its place. Without a terminal there is a line for each change of
a VM's state, and one every ten seconds for all together.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from nbdtun.display.words import PHASES, clock_text
from nbdtun.errors import printable
from nbdtun.evacuation.life import State
from nbdtun.evacuation.overview import Overview, done_of
from nbdtun.evacuation.values import Entry
from nbdtun.migration.progress import Progress
from nbdtun.units import duration_text, rate_text, size_text

if TYPE_CHECKING:
    from rich.console import Group

KINDS: Final = ("table", "json", "none")

#: Seconds between two lines without a change, and between two JSON objects.
INTERVAL: Final = 10.0
JSON_INTERVAL: Final = 1.0

_STYLES: Final = {
    State.MOVED: "green",
    State.STAYED: "red",
    State.LOST: "bold red",
    State.UNKNOWN: "bold red",
    State.UNSETTLED: "yellow",
    State.SETTLING: "yellow",
}


class Display(Protocol):
    """Shows an evacuation."""

    def show(self, overview: Overview) -> None:
        """Show the present state."""

    def close(self) -> None:
        """Give the terminal back; may be called twice."""


def make_display(kind: str, stream: TextIO | None = None) -> Display:
    """Make a display of one of :data:`KINDS`, on ``stream`` or else standard output."""
    stream = stream or sys.stdout
    if kind == "json":
        return Json(stream)
    if kind == "none":
        return Nothing()
    if stream.isatty():
        return Table(stream)
    return Lines(stream)


class Nothing:
    """Shows nothing."""

    def show(self, overview: Overview) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Json:
    """Prints one JSON object per line: about one a second, and the last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0

    def show(self, overview: Overview) -> None:
        """Print one object, if one is due."""
        if overview.over or overview.time >= self._next:
            self._next = overview.time + JSON_INTERVAL
            self._stream.write(json.dumps(overview.as_json(), allow_nan=False) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """Prints a line for each change of a VM's state, and one for all together now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._known: dict[str, tuple[State, int]] = {}
        self._next = 0.0

    def show(self, overview: Overview) -> None:
        """Print what has changed."""
        for entry, progress in overview.rows():
            state = entry.state, entry.failures
            if self._known.get(entry.vm, (State.WAITING, 0)) != state:
                self._say(overview, f"{entry.vm}: {words(entry, progress)}")
            self._known[entry.vm] = state
        if overview.over or overview.time >= self._next:
            self._next = overview.time + INTERVAL
            self._say(overview, summary(overview))

    def close(self) -> None:
        """Do nothing."""

    def _say(self, overview: Overview, line: str) -> None:
        when = datetime.fromtimestamp(overview.time).astimezone().isoformat(" ", "seconds")
        self._stream.write(f"{when} {printable(line)}\n")
        self._stream.flush()


class Table:
    """The live table on a terminal: VM, destination, phase, done, rate, left, resumes."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stderr=sys.stderr is not None and sys.stderr.isatty())

    def show(self, overview: Overview) -> None:
        """Draw it."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(self._picture(overview), refresh=True)

    def close(self) -> None:
        """Leave the last picture."""
        if self._live.is_started:
            self._live.stop()

    def _picture(self, overview: Overview) -> Group:
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid.grid(padding=(0, 2))
        for justify in ("left", "left", "left", "right", "right", "right", "right"):
            grid.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
        grid.add_row(*(Text(name, "dim") for name in ("VM", "to", "phase", "done", "rate", "left", "resumes")))
        for entry, progress in overview.rows():
            grid.add_row(*(Text(printable(cell), _STYLES.get(entry.state, "")) for cell in cells(entry, progress)))
        return Group(grid, Text(summary(overview), "dim"))


def cells(entry: Entry, progress: Progress | None) -> tuple[str, ...]:
    """The row of one VM."""
    to = entry.to or entry.move.to
    resumes = f"{entry.resumes + (progress.link.resumes if progress else 0) or ''}"
    if progress is None or entry.state.over:
        return entry.vm, to, words(entry, progress), "", "", "", resumes
    done, total = done_of(progress)
    share = f"{done * 100 // total} %" if total else ""
    rate = rate_text(progress.rate) if progress.rate and progress.link.up else ""
    left = clock_text(progress.eta) if progress.eta is not None and progress.link.up else ""
    return entry.vm, to, words(entry, progress), share, rate, left, resumes


def words(entry: Entry, progress: Progress | None) -> str:
    """What is done with a VM, or what became of it."""
    failed = f": {entry.reason} [{entry.code}]" if entry.code else ""
    to = entry.to or entry.move.to
    if entry.state is State.MOVED:
        paused = f", after a downtime of {duration_text(entry.downtime / 1000)}" if entry.downtime >= 0 else ""
        return f"runs at {to}{paused}"
    if entry.state is State.STAYED:
        return f"stays here{failed}"
    if entry.state is State.WAITING:
        return f"waits, {entry.failures} failed{failed}" if entry.failures else "waits"
    if entry.state in (State.LOST, State.UNKNOWN, State.UNSETTLED, State.SETTLING):
        return f"{entry.state.value}{failed}"
    if entry.state is State.HELD:
        return "ready to switch over"
    if progress is not None and not progress.link.up:
        return f"{PHASES[progress.phase]}, link {progress.link.state}"
    return PHASES[progress.phase] if progress is not None else "begins"


def summary(overview: Overview) -> str:
    """All together in one line."""
    if not overview.entries:
        return "there is no VM to move"
    parts = [f"{count} {state}" for state, count in overview.counts().items()]
    rate = sum(progress.rate or 0 for progress in overview.progress.values())
    parts += [rate_text(rate)] if rate else []
    left = sum(entry.move.size for entry in overview.entries if entry.state is State.WAITING and not entry.move.refused)
    parts += [f"{size_text(left)} not begun"] if left else []
    parts += ["guests wait for the window"] if not overview.open and not overview.over else []
    parts += ["no more VMs begin"] if overview.stopping and not overview.over else []
    return ", ".join(parts)
