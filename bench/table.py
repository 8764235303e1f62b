"""Samples as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bench.columns import Column
from bench.goals import GOALS, Goal
from bench.samples import Sample, Samples


def table(samples: Samples, measure: str, title: str, columns: Sequence[Column]) -> Table:
    """A row for each subject and setting; each cell is the median, with the least and the most if there are several rounds."""
    rows = samples.rows(measure)
    settings = any(setting for _, setting in rows)
    made = Table(title=title, title_justify="left")
    for _ in range(1 + settings):
        made.add_column("", no_wrap=True)
    for column in columns:
        made.add_column(column.heading, justify="right", no_wrap=True)
    for subject, setting in rows:
        cells = [cell(samples, measure, subject, setting, column) for column in columns]
        made.add_row(subject, *([setting] if settings else []), *cells)
    return made


def cell(samples: Samples, measure: str, subject: str, setting: str, column: Column) -> str:
    """The median, and the range in a line below it; empty where the subject has no such figure."""
    spread = samples.spread(measure, subject, column.figure, setting)
    if spread is None:
        return ""
    text = column.text(spread.median)
    return text if spread.low == spread.high else f"{text}\n[dim]{column.text(spread.low)}-{column.text(spread.high)}[/dim]"


def goals(samples: Samples) -> Table:
    """What became of the goals; those that were not measured are left out."""
    made = Table(title="The goals, as ratios of medians", title_justify="left")
    for heading in ("", "reached", "must", "aim", ""):
        made.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for goal in GOALS:
        outcome = goal.outcome(samples)
        if outcome.value is not None:
            made.add_row(goal.name, f"{outcome.value:.2f}", *_bounds(goal), outcome.verdict)
    return made


def _bounds(goal: Goal) -> tuple[str, str]:
    sign = ">=" if goal.more_is_better else "<="
    return f"{sign} {goal.must:g}", f"{sign} {goal.aim:g}" if goal.aim is not None else ""


def line(sample: Sample, columns: Sequence[Column]) -> str:
    """A sample as it comes."""
    known = [column for column in columns if column.figure in sample.figures]
    figures = ", ".join(f"{column.name} {column.text(sample.figures[column.figure])}" for column in known)
    return f"round {sample.round}  {sample.subject:18} {sample.setting:20}".rstrip() + f"  {figures}"
