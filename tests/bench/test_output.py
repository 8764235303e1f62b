"""What comes out: a table, a line, JSON, a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import plot, report
from bench.columns import Column
from bench.samples import Sample, Samples
from bench.scene import Effort
from bench.table import cell, goals, line, table

COLUMNS = (Column("write_mb_s", "write\nMB/s"), Column("write_cpu_s_gb", "write\nCPU s/GB", 2))
SAMPLES = Samples(
    [
        Sample("compare", "direct UNIX", 1, {"write_mb_s": 2500}),
        Sample("compare", "socat -b 1048576", 1, {"write_mb_s": 1000, "write_cpu_s_gb": 0.8}),
        Sample("compare", "socat -b 1048576", 2, {"write_mb_s": 1100, "write_cpu_s_gb": 0.9}),
        Sample("compare", "nbdtun plain", 1, {"write_mb_s": 1260, "write_cpu_s_gb": 0.85}),
    ]
)


def printed(renderable: object) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_cell_is_the_median_with_its_range() -> None:
    assert cell(SAMPLES, "compare", "socat -b 1048576", "", COLUMNS[1]) == "0.85\n[dim]0.80-0.90[/dim]"
    assert cell(SAMPLES, "compare", "nbdtun plain", "", COLUMNS[0]) == "1260"
    assert cell(SAMPLES, "compare", "direct UNIX", "", COLUMNS[1]) == ""


def test_a_table_has_a_row_for_each_subject() -> None:
    text = printed(table(SAMPLES, "compare", "Each peer", COLUMNS))
    assert "Each peer" in text
    row = next(row for row in text.splitlines() if "socat" in row)
    assert "1050" in row
    assert "0.85" in row


def test_a_table_of_settings_names_them() -> None:
    samples = Samples([Sample("scaling", "nbdtun TLS", 1, {"write_mb_s": 500}, "8 channels")])
    assert "8 channels" in printed(table(samples, "scaling", "", COLUMNS))


def test_goals_that_were_not_measured_are_left_out() -> None:
    text = printed(goals(SAMPLES))
    assert "plain, MB/s writing, against socat -b 1048576" in text
    assert "1.20" in text
    assert "aim reached" in text
    assert "migration" not in text


def test_a_sample_as_it_comes() -> None:
    assert line(SAMPLES[1], COLUMNS) == "round 1  socat -b 1048576  write MB/s 1000, write CPU s/GB 0.80"


def test_the_report_holds_every_round_and_what_became_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.machine.describe", lambda: {"cpu": "a paper one"})
    path = tmp_path / "report.json"
    report.write(path, report.report(SAMPLES, Effort(rounds=2), {"haproxy TLS": "haproxy is not installed"}))
    read = json.loads(path.read_text())
    assert read["machine"] == {"cpu": "a paper one"}
    assert read["effort"]["rounds"] == 2
    assert read["skipped"] == {"haproxy TLS": "haproxy is not installed"}
    assert len(read["samples"]) == len(SAMPLES)
    socat = next(row for row in read["medians"] if row["subject"] == "socat -b 1048576")
    assert socat["figures"]["write_mb_s"] == {"median": 1050, "low": 1000, "high": 1100}
    assert {goal["verdict"] for goal in read["goals"]} >= {"aim reached", "not measured"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.draw(SAMPLES, tmp_path / "report.svg")
    assert "<svg" in (tmp_path / "report.svg").read_text()
