"""What `nbdtun migrate` shows meanwhile: bars on a terminal, lines in a pipe, JSON for programs, and nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace

from lab.crossing import PHASES, VM, Crossing
from lab.daemon import BIN
from lab.disks import MIB
from lab.pair import Pair, Plan
from tests.integration.outcome import arrived

SMALL = Plan(32 * MIB)


def test_what_the_json_says(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(Plan(64 * MIB), Plan(32 * MIB, filled=1.0), paused=True))
    attempt = crossing.migrate("--bandwidth", "32MiB")
    assert attempt.wait_exit(120) == 0, attempt.log()
    reports = attempt.reports()
    *before, last = reports
    for report in before:
        there = {"downtime_ms", "pause_ms"} if report["phase"] == "settle" else set()
        assert report.keys() == {"time", "elapsed", "phase", "session", "guest", "disks", "ram", "rate", "eta", "link", "converge"} | there
    assert last.keys() == before[0].keys() | {"downtime_ms", "pause_ms", "error", "code", "remedy"}
    for report in reports:
        assert all(disk.keys() == {"node", "total", "done"} for disk in report["disks"])
        assert report["ram"].keys() == {"total", "done"}
        link = report["link"]
        assert (link["state"], link["lost_for"], link["outages"], link["resumes"], link["replayed"]) == ("up", None, 0, 0, 0)
        assert report["rate"] is None or isinstance(report["rate"], int | float)
    assert attempt.phases() == [*PHASES, "completed"]
    assert [report["time"] for report in reports] == sorted(report["time"] for report in reports)
    assert [(disk["node"], disk["total"], disk["done"]) for disk in last["disks"]] == [
        ("vda", 64 * MIB, 64 * MIB),
        ("vdb", 32 * MIB, 32 * MIB),
    ]
    assert last["ram"]["done"] == last["ram"]["total"] > 0
    assert last["error"] is last["code"] is last["remedy"] is None
    assert any((report["rate"] or 0) > 0 and report["eta"] is not None for report in before)


def test_bars_on_a_terminal(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(replace(SMALL, filled=1.0), replace(SMALL, read_only=True), paused=True))
    terminal, end = pty.openpty()
    os.set_blocking(terminal, True)
    command = [f"{BIN}/nbdtun", "migrate", *crossing.arguments("--bandwidth", "16MiB")]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=env) as shown:
        os.close(end)
        text = read_to_end(terminal)
        assert shown.wait(60) == 0, text
    assert "Traceback" not in text
    assert "copying disks" in text
    assert "vdb is not copied" in text
    assert "runs at the destination" in text
    assert "downtime" in text or "total" in text
    assert "\x1b[?25h" in text  # the cursor is back


def read_to_end(terminal: int) -> str:
    """All that is written to a terminal until its last writer is gone."""
    found = b""
    try:
        while data := os.read(terminal, 65536):
            found += data
    except OSError:
        pass  # Linux says so when nobody has the other end any more
    os.close(terminal)
    return found.decode()


def test_lines_in_a_pipe(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    command = [f"{BIN}/nbdtun", "migrate", *crossing.arguments()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert all(re.match(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\S+ {VM}: ", line) for line in lines)
    assert f" {VM}: runs at the destination; total " in lines[-1]
    assert "\x1b" not in shown.stdout


def test_nothing_is_shown(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    command = [f"{BIN}/nbdtun", "migrate", *crossing.arguments("--progress", "none")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_a_broken_pipe_does_not_matter(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """Who reads the progress may go away; the migration goes on."""
    crossing = crossings(pairs(SMALL))
    crossing.pair.source.wait_ticks(5)
    command = [f"{BIN}/nbdtun", "migrate", *crossing.arguments("--progress", "json", "--bandwidth", "32MiB")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as migrating:
        assert migrating.stdout is not None
        assert migrating.stderr is not None
        assert json.loads(migrating.stdout.readline())["phase"] == "prepare"
        migrating.stdout.close()
        assert migrating.wait(120) == 0, migrating.stderr.read()
        assert migrating.stderr.read() == ""
    arrived(crossing)
