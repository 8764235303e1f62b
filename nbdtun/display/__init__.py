"""
Shows the progress of a migration: live bars on a terminal, lines where there is none, JSON for programs, or nothing.

From the ground up:

    words     the words and figures that bars and lines share
    lines     progress for logs and pipes
    bars      progress on a terminal
    findings  the findings of a check, as lines
    plans     a plan of a destination, as lines
    evacuation  many VMs: a table, lines, or JSON
    vms       the VMs of a host, as lines
    reports   what `nbdtun status` prints
    watched   lines that are shown again and again

A display takes :class:`~nbdtun.migration.progress.Progress` values and nothing else, not even a clock: the same values always give the same
picture. It never makes a migration fail: if its reader has gone away, it stops printing.
"""

from __future__ import annotations

import json
import sys
from typing import Final, Protocol, TextIO

from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Progress

KINDS: Final = ("bar", "json", "final", "none")

#: Seconds between two lines of a log without a change.
LOG_INTERVAL: Final = 600.0


class Display(Protocol):
    """Shows a migration."""

    def show(self, progress: Progress) -> None:
        """Show the current state; a final phase adds the summary."""

    def close(self) -> None:
        """Give the terminal back, and show nothing more. May be called twice."""


def make_display(kind: str, title: str = "", stream: TextIO | None = None, *, verbose: bool = False) -> Display:
    """
    Make a display of one of :data:`KINDS`, on ``stream`` or else standard output; ``title`` is the VM's name. The kind ``log`` is that of
    a migration that has lost its terminal: a line at each change, and one every ten minutes. The log itself adds the time.
    A ``verbose`` one for people ends with the parts of the downtime.

    If ``stream`` is not a terminal, ``bar`` prints lines of text without control characters.

    :raise ConfigError: there is no such kind.
    """
    stream = stream or sys.stdout
    if kind == "json":
        return Patient(Json(stream))
    if kind == "final":
        return Patient(Json(stream, final=True))
    if kind == "bar":
        return Patient(_bars_or_lines(title, stream, verbose))
    if kind == "log":
        from nbdtun.display.lines import Lines

        return Patient(Lines(stream, title, LOG_INTERVAL, timed=False, verbose=verbose))
    if kind == "none":
        return Nothing()
    raise ConfigError(f"{kind!r} is not a kind of progress display: use one of {', '.join(KINDS)}")


def _bars_or_lines(title: str, stream: TextIO, verbose: bool) -> Display:
    from rich.console import Console  # late, because a program that reads JSON need not wait for it

    from nbdtun.display.bars import Bars
    from nbdtun.display.lines import Lines

    console = Console(file=stream, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return Bars(console, title, verbose=verbose)
    return Lines(stream, title, verbose=verbose)


class Nothing:
    """Shows nothing."""

    def show(self, progress: Progress) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Json:
    """Prints one JSON object per line, flushed at once; ``final``: only the last one of a migration."""

    def __init__(self, stream: TextIO, *, final: bool = False) -> None:
        self._stream = stream
        self._final = final

    def show(self, progress: Progress) -> None:
        """Print one object."""
        if self._final and not progress.phase.final:
            return
        self._stream.write(json.dumps(progress.as_json(), allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing."""


class Patient:
    """Wraps a display whose reader may go away: a closed pipe or a full disk must not end a migration."""

    def __init__(self, display: Display) -> None:
        self._display: Display = display

    def show(self, progress: Progress) -> None:
        """Show it, or stop printing for good."""
        try:
            self._display.show(progress)
        except OSError:
            self.close()  # also restores standard error, which may lead elsewhere

    def close(self) -> None:
        """Close the other display."""
        display, self._display = self._display, Nothing()
        try:
            display.close()
        except OSError:
            return
