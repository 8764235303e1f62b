"""``nbdtun status``, ``set`` and ``cancel``: what they say when there is nothing, and of what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nbdtun.cli.remote import sentence
from nbdtun.migration.progress import DiskProgress, Measures, Phase, Progress
from tests.cli.stage import run

PROGRESS = Progress(
    time=1.0, elapsed=2.0, phase=Phase.MIRROR, disks=(DiskProgress("vda", 100 << 20, 40 << 20),), converge=Measures(lagging=("vda",))
)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("set", "web1"), "there is nothing to set: give --bandwidth or --downtime"),
        (
            ("set", "web1", "--bandwidth", "0"),
            "Invalid value for '--bandwidth': bandwidth must be more than 0, not 0",
        ),
        (("set", "web1", "--bandwidth", "fast"), "Invalid value for '--bandwidth': 'fast' is not a size"),
        (("cancel",), "Missing argument 'VM'."),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"nbdtun: {line}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, ""),
        ({"bandwidth": None, "downtime": 0.3}, "; no limit of bandwidth, downtime 300 ms"),
        ({"bandwidth": 1 << 30, "downtime": 2.0}, "; at most 1 GiB/s, downtime 2.0 s"),
    ],
)
def test_a_sentence(limits: dict[str, Any], words: str) -> None:
    report = {"kind": "migration", "name": "web1", "pid": 7, **limits, "progress": PROGRESS.as_json()}
    assert sentence(report) == f"web1 (pid 7): copying disks; vda 40 % of 100 MiB; vda gets no closer{words}"


def test_one_that_does_not_answer() -> None:
    assert sentence({"name": "web1", "error": "web1: its process has not answered"}) == "web1: its process has not answered"


def test_nothing_runs(tmp_path: Path) -> None:
    """In a process of its own, as a reactor can be run but once."""

    def said(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([sys.executable, "-m", "nbdtun", *words, "--run-dir", str(tmp_path)], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    where = f"nothing runs here ({tmp_path}/control)"
    assert said("status") == (0, f"{where}\n", "")
    assert said("status", "--json") == (0, "", "")
    assert said("cancel", "web1") == (2, "", f"nbdtun: web1: {where} of that name; `nbdtun status` lists what does [config]\n")
    assert said("set", "../web1", "--bandwidth", "1G")[0] == 2
