"""
Progress on a terminal: a title line, a bar for each disk and for the memory, a line of figures; at the end, a summary.

The picture is calm on purpose: every row is there from the start and keeps its place, figures have their own columns, rates are smoothed,
and colours have a meaning (cyan: running, green: done, yellow: waiting, red: failed). It is drawn when there is something new to show, and
by no thread of its own.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nbdtun.display.words import OUTCOMES, PHASES, Row, clock_text, converge_words, link_words, rows, summary_words
from nbdtun.errors import printable
from nbdtun.migration.progress import Phase, Progress
from nbdtun.rate import Rate
from nbdtun.units import rate_text, size_text

_WIDEST = 120
#: Columns from which on each bar has its own ETA.
_ROOM_FOR_ETA = 96
_LONGEST_NAME = 20


class Bars:
    """The live display on a terminal."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = printable(title)
        self._rates: defaultdict[str, Rate] = defaultdict(Rate)
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=_shares_terminal(sys.stderr))
        self._closed = False

    def __repr__(self) -> str:
        return f"<Bars {self._title} {'closed' if self._closed else 'open'}>"

    def show(self, progress: Progress) -> None:
        """Draw it; after a final phase the picture stays, and a summary follows."""
        if self._closed:
            return
        for row in rows(progress):
            self._rates[row.name].sample(progress.elapsed, row.done)
        self._rates[""].sample(progress.elapsed, sum(row.done for row in rows(progress)))
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
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.width = width
        names = [min(len(row.name), _LONGEST_NAME) for row in rows(progress)]
        table.add_column(overflow="ellipsis", no_wrap=True, width=max(names) + 2)
        table.add_column(ratio=1)
        for columns in (5, 17, 10, 7)[: 4 if width >= _ROOM_FOR_ETA else 3]:
            table.add_column(justify="right", no_wrap=True, width=columns)
        for row in rows(progress):
            table.add_row(*self._cells(row, progress)[: len(table.columns)])
        return table

    def _cells(self, row: Row, progress: Progress) -> list[RenderableType]:
        """Name, bar, share, amount, rate, and time left."""
        rate = self._rates[row.name].value
        runs = bool(rate) and not row.complete and not progress.phase.final and progress.link.lost_for is None
        left = (row.total - row.done) / rate if runs and rate else None
        started = row.done > 0 or row.complete
        return [
            Text(f"  {row.name}"),
            ProgressBar(
                total=max(row.total, 1),
                completed=min(row.done, row.total),
                style="bright_black",
                complete_style="cyan",
                finished_style="green",
            ),
            Text(row.percentage, "" if started else "dim"),
            Text(_amount(row), "" if started else "dim"),
            Text(rate_text(rate) if runs and rate else ""),
            Text(clock_text(left) if left is not None and left < 360000 else "", "dim"),
        ]

    def _footing(self, progress: Progress) -> RenderableType:
        words = []
        if progress.link.lost_for is None and (rate := self._rates[""].value):
            words.append(Text(rate_text(rate)))
        if progress.link.lost_for is None and progress.eta is not None:
            words.append(Text(f"{clock_text(progress.eta)} left"))
        words += [Text(word, "yellow") for word in converge_words(progress)]
        style = "yellow" if progress.link.lost_for is not None else "dim"
        words += [Text(word, style) for word in link_words(progress)]
        return Text("  ") + self._joined(words)

    def _summary(self, progress: Progress) -> RenderableType:
        mark, style = _MARKS[progress.phase]
        mark = mark if self._console.encoding.startswith("utf") else "-"
        outcome = Text.assemble((f"{mark} ", style), (self._title or "the VM", "bold"), f" {OUTCOMES[progress.phase]}")
        figures = [words for words in (summary_words(progress), link_words(progress)) if words]
        return Text("\n").join([outcome, *(Text("  ") + self._joined([Text(word, "dim") for word in words]) for words in figures)])

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


def _shares_terminal(stream: TextIO | None) -> bool:
    """Whether ``stream`` would write into the bars; a stream to a file would not."""
    return stream is not None and stream.isatty()


def _phase(progress: Progress) -> Text:
    if progress.link.lost_for is not None and not progress.phase.final:
        return Text(PHASES[progress.phase], "yellow")
    return Text(PHASES[progress.phase], _PHASE_STYLES.get(progress.phase, "cyan"))


def _amount(row: Row) -> str:
    """``6.2 of 10 GiB``, and ``10 GiB`` when nothing is left."""
    if not row.total:
        return ""
    if row.complete:
        return size_text(row.done)
    done, total = size_text(row.done).split(" "), size_text(row.total).split(" ")
    return f"{done[0]} of {' '.join(total)}" if done[1] == total[1] else f"{' '.join(done)} of {' '.join(total)}"
