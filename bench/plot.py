"""The comparison, and what a guest keeps of its work, as a picture, where matplotlib is installed: `pip install nbdtun[bench]`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from bench.samples import Samples

PANELS = (
    ("MB/s, 1 MiB with 16 in flight", {"write_mb_s": "writing", "read_mb_s": "reading"}),
    ("CPU s/GB, both ends", {"write_cpu_s_gb": "writing", "read_cpu_s_gb": "reading"}),
    ("4 KiB, one in flight, us", {"latency_us": "median", "latency_p99_us": "p99"}),
)

Rows = list[tuple[str, str]]
"""Subjects, each with its setting."""


def check() -> None:
    """Say so before anything is measured if there can be no picture."""
    if importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")


def draw(samples: Samples, path: Path) -> None:
    """Bars of the medians, with the least and the most."""
    from matplotlib.figure import Figure

    drawn = {
        measure: (draw, samples.rows(measure)) for measure, draw in (("compare", _compare), ("guest", _guest)) if samples.rows(measure)
    }
    heights = [1.5 + 0.45 * len(rows) for _, rows in drawn.values()]
    figure = Figure(figsize=(16, sum(heights)), layout="constrained")
    for part, (draw_part, rows) in zip(figure.subfigures(len(drawn), 1, squeeze=False, height_ratios=heights), drawn.values(), strict=True):
        draw_part(part[0], samples, rows)
    figure.savefig(path)


def _compare(figure: Any, samples: Samples, rows: Rows) -> None:
    for axes, (title, figures) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        for number, (name, label) in enumerate(figures.items()):
            _bars(axes, samples, "compare", rows, name, label, (number - 0.5) * 0.4)
        if "latency_us" in figures:
            axes.set_xscale("log")  # a p99 may be a hundred times the others
        _finish(axes, title, [subject for subject, _ in rows])
    figure.axes[0].invert_yaxis()


def _guest(figure: Any, samples: Samples, rows: Rows) -> None:
    axes = figure.subplots()
    _bars(axes, samples, "guest", rows, "share", "share", 0)
    _finish(axes, "What a guest does while it is copied, of what it does alone", [f"{setting}: {subject}" for subject, setting in rows])
    axes.invert_yaxis()


def _finish(axes: Any, title: str, names: list[str]) -> None:
    axes.set_title(title)
    axes.legend()
    axes.grid(axis="x", alpha=0.3)
    axes.set_yticks(range(len(names)), names)


def _bars(axes: Any, samples: Samples, measure: str, rows: Rows, name: str, label: str, shift: float) -> None:
    spreads = {number: samples.spread(measure, subject, name, setting) for number, (subject, setting) in enumerate(rows)}
    known = {number: spread for number, spread in spreads.items() if spread}
    medians = [spread.median for spread in known.values()]
    low = [spread.median - spread.low for spread in known.values()]
    high = [spread.high - spread.median for spread in known.values()]
    axes.barh([number + shift for number in known], medians, 0.4, xerr=(low, high), label=label, error_kw={"alpha": 0.5})
