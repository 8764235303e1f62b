"""The comparison as a picture, where matplotlib is installed: `pip install nbdtun[bench]`."""

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


def check() -> None:
    """Say so before anything is measured if there can be no picture."""
    if importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")


def draw(samples: Samples, path: Path) -> None:
    """Bars of the medians, with the least and the most."""
    from matplotlib.figure import Figure

    subjects = [subject for subject, _ in samples.rows("compare")]
    figure = Figure(figsize=(16, 1.5 + 0.45 * len(subjects)), layout="constrained")
    for axes, (title, figures) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        for number, (name, label) in enumerate(figures.items()):
            _bars(axes, samples, subjects, name, label, (number - 0.5) * 0.4)
        axes.set_title(title)
        if "latency_us" in figures:
            axes.set_xscale("log")  # a p99 may be a hundred times the others
        axes.legend()
        axes.grid(axis="x", alpha=0.3)
        axes.set_yticks(range(len(subjects)), subjects)
    figure.axes[0].invert_yaxis()
    figure.savefig(path)


def _bars(axes: Any, samples: Samples, subjects: list[str], name: str, label: str, shift: float) -> None:
    spreads = {number: samples.spread("compare", subject, name) for number, subject in enumerate(subjects)}
    known = {number: spread for number, spread in spreads.items() if spread}
    medians = [spread.median for spread in known.values()]
    low = [spread.median - spread.low for spread in known.values()]
    high = [spread.high - spread.median for spread in known.values()]
    axes.barh([number + shift for number in known], medians, 0.4, xerr=(low, high), label=label, error_kw={"alpha": 0.5})
