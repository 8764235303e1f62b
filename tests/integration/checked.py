"""`nbdtun check`, and what it has found, as its JSON has it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from lab.crossing import Crossing
from lab.daemon import BIN


def check(crossing: Crossing, *more: str, arguments: list[str] | None = None) -> tuple[int, dict[str, Any]]:
    """Exit status and report of `nbdtun check --json`."""
    return report_of(crossing.arguments(*more) if arguments is None else arguments)


def report_of(words: list[str]) -> tuple[int, dict[str, Any]]:
    """The same, of any arguments."""
    done = subprocess.run([BIN / "nbdtun", "check", *words, "--json"], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def failures(report: Mapping[str, Any], level: str = "failure") -> list[str]:
    """What has failed, as the lines would have it."""
    return [
        f"{one['check']}: {one['what']}{'; ' + one['remedy'] if one['remedy'] else ''}"
        for one in report["findings"]
        if one["level"] == level
    ]


def findings(crossing: Crossing, *more: str, level: str = "failure") -> list[str]:
    """What it tells of that level, without measuring anything."""
    status, report = check(crossing, "--no-measure", *more)
    assert status == (1 if report["level"] == "failure" else 0)
    found = [one for one in report["findings"] if one["level"] == level]
    return ["; ".join(filter(None, (one["what"], one["remedy"]))) for one in found]
