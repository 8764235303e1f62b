"""The report: everything as JSON, so that two runs can be compared."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine
from bench.goals import GOALS
from bench.samples import Samples
from bench.scene import Effort


def report(samples: Samples, effort: Effort, skipped: dict[str, str]) -> dict[str, Any]:
    """All rounds, and what is made of them."""
    return {
        "machine": machine.describe(),
        "effort": asdict(effort),
        "skipped": skipped,
        "goals": [asdict(goal.outcome(samples)) for goal in GOALS],
        "medians": medians(samples),
        "samples": [asdict(sample) for sample in samples],
    }


def medians(samples: Samples) -> list[dict[str, Any]]:
    """A row for each subject and setting of each measure, with the spread of each figure."""
    made = []
    for measure in dict.fromkeys(sample.measure for sample in samples):
        for subject, setting in samples.rows(measure):
            own = [sample for sample in samples if (sample.measure, sample.subject, sample.setting) == (measure, subject, setting)]
            names = dict.fromkeys(name for sample in own for name in sample.figures)
            spreads = {name: samples.spread(measure, subject, name, setting) for name in names}
            figures = {name: asdict(spread) for name, spread in spreads.items() if spread}
            made.append({"measure": measure, "subject": subject, "setting": setting, "figures": figures})
    return made


def write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)
