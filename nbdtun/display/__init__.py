"""
Shows where a migration stands: live bars on a terminal, lines where there is none, JSON for programs, or nothing.

A display is fed with :class:`~nbdtun.migration.progress.Progress` values and asks for nothing else, least of all a clock: the same
values always give the same picture. It never makes a migration fail: one whose reader has gone away falls silent.
"""

from __future__ import annotations

import json
import sys
from typing import Final, Protocol, TextIO

from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Progress

KINDS: Final = ("bar", "json", "none")


class Display(Protocol):
    """Something that a migration is shown on."""

    def show(self, progress: Progress) -> None:
        """Show where it stands now; a final phase brings the summary."""

    def close(self) -> None:
        """Give the terminal back; nothing is shown any more. May be called twice."""


def make_display(kind: str, title: str = "", stream: TextIO | None = None) -> Display:
    """
    A display of one of :data:`KINDS`, on ``stream`` or else standard output; ``title`` is what is migrated.

    ``bar`` means lines of text, without control characters, where ``stream`` is not a terminal.

    :raise ConfigError: there is no such kind.
    """
    stream = stream or sys.stdout
    if kind == "json":
        return Patient(Json(stream))
    if kind == "bar":
        return Patient(_bars_or_lines(title, stream))
    if kind == "none":
        return Nothing()
    raise ConfigError(f"{kind!r} is not a kind of progress display: it is one of {', '.join(KINDS)}")


def _bars_or_lines(title: str, stream: TextIO) -> Display:
    from rich.console import Console  # here, because a program that reads JSON need not wait for it

    from nbdtun.display.bars import Bars
    from nbdtun.display.lines import Lines

    console = Console(file=stream, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return Bars(console, title)
    return Lines(stream, title)


class Nothing:
    """Shows nothing."""

    def show(self, progress: Progress) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Json:
    """One JSON object a line, flushed at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, progress: Progress) -> None:
        """Print one object."""
        self._stream.write(json.dumps(progress.as_json(), allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing."""


class Patient:
    """Another display, but one whose reader may go away: a closed pipe or a full disk must not end a migration."""

    def __init__(self, display: Display) -> None:
        self._display: Display = display

    def show(self, progress: Progress) -> None:
        """Show it, or fall silent for good."""
        try:
            self._display.show(progress)
        except OSError:
            self.close()  # which also gives standard error back, to be heard where it leads elsewhere

    def close(self) -> None:
        """Close the other display."""
        display, self._display = self._display, Nothing()
        try:
            display.close()
        except OSError:
            return
