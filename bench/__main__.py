"""`python -m bench`: measures, prints tables as it goes, and at the end what became of the goals."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import plot, report
from bench.measures import MEASURES, Measure
from bench.peers import PEERS, Peer
from bench.samples import Samples
from bench.scene import Effort, Scene, scene
from bench.table import goals, line, table

WORDS = tuple(word for measure in MEASURES for word in measure.words)


class Names(click.ParamType):  # type: ignore[type-arg]
    """Some of the known names, with commas between."""

    name = "names"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        for name in names:
            if name not in self._known:
                self.fail(f"{name!r} is none of: {', '.join(self._known)}", param, ctx)
        return names


@click.command(context_settings={"max_content_width": 110})
@click.option("--only", type=Names(WORDS), default=WORDS, help=f"What to measure, with commas between: {', '.join(WORDS)}.")
@click.option("--peers", type=Names(tuple(peer.name for peer in PEERS)), help="The peers to compare, with commas between.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5), default=2.0, show_default=True, help="Length of each load.")
@click.option("--quick", is_flag=True, help="A first look, in 3 minutes: one round of 1 s, fewer conditions.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write everything there.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw the comparison there: .png, .svg, .pdf.")
def main(
    only: tuple[str, ...],
    peers: tuple[str, ...] | None,
    rounds: int,
    seconds: float,
    quick: bool,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure what the tunnel costs, beside the best of the others."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then, too
    if plot_file is not None:
        plot.check()
    run = Run(Effort(1, 1.0, True) if quick else Effort(rounds, seconds), _console(), json_file)
    run.measure([peer for peer in PEERS if peers is None or peer.name in peers], only)
    run.console.print(goals(run.samples))
    if plot_file is not None:
        plot.draw(run.samples, plot_file)
    sys.exit(1 if run.failed else 0)


def _console() -> Console:
    """Wide enough for the tables where it is a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


class Run:
    """What was measured so far; it is written after each measure, so that a run that is broken off leaves the others."""

    def __init__(self, effort: Effort, console: Console, json_file: Path | None) -> None:
        self._effort, self._json = effort, json_file
        self.console = console
        self.samples = Samples()
        self.failed = False
        self._skipped: dict[str, str] = {}

    def measure(self, peers: list[Peer], only: tuple[str, ...]) -> None:
        """Make the measures that were asked for."""
        for peer in peers:
            if missing := peer.missing():
                self._note(peer.name, f"{', '.join(missing)} is not installed")
        here = tuple(peer for peer in peers if not peer.missing())
        with scene(self._effort, here, self._note, self._fail) as stage:
            for measure in MEASURES:
                if wanted := tuple(word for word in measure.words if word in only):
                    self._make(measure, stage, wanted)

    def _make(self, measure: Measure, stage: Scene, wanted: tuple[str, ...]) -> None:
        self.console.rule(measure.title, align="left")
        try:
            for sample in measure.run(stage, wanted):
                self.samples.append(sample)
                self.console.print(line(sample, measure.columns), style="dim", soft_wrap=True)
        except Exception as error:  # whatever it is: half an hour of the others must not be lost for it
            self._fail(measure.name, f"{type(error).__name__}: {error}")
        if self.samples.rows(measure.name):
            self.console.print(table(self.samples, measure.name, measure.title, measure.columns))
        if self._json is not None:
            report.write(self._json, report.report(self.samples, self._effort, self._skipped))

    def _fail(self, name: str, reason: str) -> None:
        self.failed = True
        self._note(name, reason)

    def _note(self, name: str, reason: str) -> None:
        self._skipped[name] = reason
        self.console.print(f"skipped: {name}: {reason}")


if __name__ == "__main__":
    main()
