"""
Progress on a terminal: a title line, a bar for each disk and for the memory, a line of figures; at the end, a summary.

The picture is calm on purpose: every row is there from the start and keeps its place, figures have their own columns, there is one rate
and one time left, and colours have a meaning (cyan: running, green: done, yellow: waiting, red: failed). It is drawn when there is
something new to show, and by no thread of its own.
"""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nbdtun.display.words import (
    Row,
    clock_text,
    converge_words,
    link_words,
    outcome,
    pause_words,
    phase_words,
    rows,
    time_words,
    volume_words,
)
from nbdtun.errors import printable
from nbdtun.migration.progress import Phase, Progress
from nbdtun.units import rate_text, size_text

_WIDEST = 120
_LONGEST_NAME = 20
#: Seconds from which on a time left is none.
_LONGEST = 360000.0


class Bars:
    """The live display on a terminal; a ``verbose`` one ends with the parts of the downtime."""

    def __init__(self, console: Console, title: str, *, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._title = printable(title)
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=_shares_terminal(sys.stderr))
        self._closed = False

    def __repr__(self) -> str:
        return f"<Bars {self._title} {'closed' if self._closed else 'open'}>"

    def show(self, progress: Progress) -> None:
        """Draw it; after a final phase the picture stays, and a summary follows."""
        if self._closed:
            return
        if not self._live.is_started:
            self._live.start()
        self._live.update(self._picture(progress), refresh=True)
        if progress.phase.final:
            self.close()
            self._console.print(self._summary(progress))

    def close(self) -> None:
        """Leave the last picture, and restore cursor and streams."""
        self._closed = True
        if self._live.is_started:
            self._live.stop()

    def _picture(self, progress: Progress) -> RenderableType:
        width = min(self._console.width, _WIDEST)
        picture: list[RenderableType] = [self._heading(progress, width), self._table(progress, width)]
        if not progress.phase.final:
            picture.append(self._footing(progress))
        return Group(*picture)

    def _heading(self, progress: Progress, width: int) -> RenderableType:
        heading = Table.grid(expand=True)
        heading.width = width
        heading.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        heading.add_column(justify="right", no_wrap=True)
        heading.add_row(Text.assemble((self._title, "bold"), "  ", _phase(progress)), Text(clock_text(progress.elapsed), "dim"))
        return heading

    def _table(self, progress: Progress, width: int) -> RenderableType:
        table = Table.grid(expand=True)  # without padding: releases of rich differ on whether a width has the last column's
        table.width = width
        names = [min(len(row.name), _LONGEST_NAME) for row in rows(progress)]
        table.add_column(overflow="ellipsis", no_wrap=True, width=max(names) + 2)
        table.add_column(width=2)
        table.add_column(ratio=1)
        for columns in (7, 19):
            table.add_column(justify="right", no_wrap=True, width=columns)
        for row in rows(progress):
            table.add_row(*self._cells(row))
        return table

    def _cells(self, row: Row) -> list[RenderableType]:
        """Name, gap, bar, share and amount."""
        started = row.done > 0 or row.complete
        plain = self._console.color_system is None or not self._console.encoding.startswith("utf")
        return [
            Text(f"  {row.name}"),
            Text(),
            _PlainBar(row.fraction) if plain else _bar(row.fraction),
            Text(row.percentage, "" if started else "dim"),
            Text(_amount(row), "" if started else "dim"),
        ]

    def _footing(self, progress: Progress) -> RenderableType:
        words = []
        if progress.link.up and progress.rate:
            words.append(Text(rate_text(progress.rate)))
        if progress.link.up and progress.eta is not None and progress.eta < _LONGEST:
            words.append(Text(f"{clock_text(progress.eta)} left"))
        words += [Text(word, "yellow") for word in converge_words(progress)]
        style = "dim" if progress.link.up else "yellow"
        words += [Text(word, style) for word in link_words(progress, self._title or "the VM")]
        return Text("  ") + self._joined(words)

    def _summary(self, progress: Progress) -> RenderableType:
        mark, style = _MARKS[progress.phase]
        mark = mark if self._console.encoding.startswith("utf") else "-"
        ended = Text.assemble((f"{mark} ", style), (self._title or "the VM", "bold"), f" {outcome(progress)}")
        figures = [words for words in self._figures(progress) if words]
        return Text("\n").join([ended, *(Text("  ") + self._joined([Text(word, "dim") for word in words]) for words in figures)])

    def _figures(self, progress: Progress) -> tuple[list[str], ...]:
        pause = pause_words(progress) if self._verbose else []
        return time_words(progress), pause, volume_words(progress), link_words(progress, self._title or "the VM")

    def _joined(self, words: list[Text]) -> Text:
        return Text(" · " if self._console.encoding.startswith("utf") else ", ", "dim").join(words)


_MARKS = {
    Phase.COMPLETED: ("✓", "green"),
    Phase.FAILED: ("✗", "red"),
    Phase.CANCELLED: ("✗", "yellow"),
    Phase.UNKNOWN: ("?", "bold red"),
    Phase.LOST: ("✗", "bold red"),
}
_PHASE_STYLES = {
    Phase.COMPLETED: "green",
    Phase.FAILED: "red",
    Phase.CANCELLED: "yellow",
    Phase.UNKNOWN: "bold red",
    Phase.LOST: "bold red",
}


def _bar(fraction: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=fraction, style="bright_black", complete_style="cyan", finished_style="green")


class _PlainBar:
    """``====>.....``: a bar that tells done from to-do without colours and in ASCII."""

    def __init__(self, fraction: float) -> None:
        self._fraction = fraction

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fill the room that there is."""
        width = options.max_width
        done = int(width * self._fraction)
        head = ">" if 0 < done < width else ""
        yield Text("=" * (done - len(head)) + head + "." * (width - done), overflow="crop", no_wrap=True)


def _shares_terminal(stream: TextIO | None) -> bool:
    """Whether ``stream`` would write into the bars; a stream to a file would not."""
    return stream is not None and stream.isatty()


def _phase(progress: Progress) -> Text:
    if (not progress.link.up or progress.phase is Phase.ROLLBACK) and not progress.phase.final:
        return Text(phase_words(progress), "yellow")
    return Text(phase_words(progress), _PHASE_STYLES.get(progress.phase, "cyan"))


def _amount(row: Row) -> str:
    """``6.2 of 10 GiB``, and ``10 GiB`` when nothing is left."""
    if not row.total:
        return ""
    if row.complete:
        return size_text(max(row.done, row.total))
    done, total = size_text(row.done).split(" "), size_text(row.total).split(" ")
    return f"{done[0]} of {' '.join(total)}" if done[1] == total[1] else f"{' '.join(done)} of {' '.join(total)}"
