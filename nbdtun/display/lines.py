"""
Progress for logs and pipes, with the time: one line at each change of phase or link, and one every ten seconds.

Plain ASCII, except for names.
"""

from __future__ import annotations

from datetime import datetime
from typing import TextIO

from nbdtun.display.words import converge_words, link_words, outcome, pause_words, phase_words, rows, summary_words
from nbdtun.errors import printable
from nbdtun.migration.progress import Phase, Progress
from nbdtun.units import duration_text, rate_text, size_text

#: Seconds between two lines without a change.
INTERVAL = 10.0


class Lines:
    """Prints a line at each change, and otherwise every ``interval`` seconds; ``timed``: the line begins with the time; ``verbose``: the
    last one has the parts of the downtime."""

    def __init__(self, stream: TextIO, title: str, interval: float = INTERVAL, *, timed: bool = True, verbose: bool = False) -> None:
        self._stream = stream
        self._timed = timed
        self._verbose = verbose
        self._interval = interval
        self._title = printable(title) or "the VM"
        self._said: tuple[Phase, str] | None = None
        self._next = 0.0

    def show(self, progress: Progress) -> None:
        """Print a line, if one is due."""
        state = (progress.phase, progress.link.state)
        if state == self._said and progress.elapsed < self._next:
            return
        self._said, self._next = state, progress.elapsed + self._interval
        when = datetime.fromtimestamp(progress.time).astimezone().isoformat(" ", "seconds") + " " if self._timed else ""
        more = f"; {', '.join(pause_words(progress))}" if self._verbose and progress.phase.final and progress.pause else ""
        self._stream.write(f"{when}{self._title}: {line(progress, self._title)}{more}\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing."""


def line(progress: Progress, vm: str) -> str:
    """The state of the migration of ``vm`` in one line, without that name before it."""
    if progress.phase.final:
        return f"{outcome(progress)}; " + ", ".join([*summary_words(progress), *link_words(progress, vm)])
    copied = ", ".join(f"{row.name} {row.percentage} of {size_text(row.total)}" for row in rows(progress) if row.total)
    pace = [rate_text(progress.rate)] if progress.rate and progress.link.up else []
    if progress.eta is not None and progress.link.up:
        pace.append(f"{duration_text(progress.eta)} left")
    return "; ".join(
        part
        for part in (phase_words(progress), copied, ", ".join(pace), ", ".join(converge_words(progress)), *link_words(progress, vm))
        if part
    )
