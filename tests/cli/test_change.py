"""``nbdtun set``: what it asks for, in the units of the wire, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.errors import TooLate
from tests.cli.stage import REPORT, SENTENCE, Running, run


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--bandwidth 500MiB", {"bandwidth": 500 << 20}),
        ("--bandwidth none", {"bandwidth": 0}),
        ("--downtime 1500ms", {"downtime": 1500}),
        ("--switchover now", {"switchover": 0}),
        ("--bandwidth 1k --downtime 2s", {"bandwidth": 1024, "downtime": 2000}),
    ],
)
def test_only_what_is_given_is_changed(words: str, wanted: dict[str, int], running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.reports = [{**REPORT, "bandwidth": None, "downtime": 0.3}]
    assert run(capsys, "set", "web1", *words.split()) == (0, f"{SENTENCE}; no bandwidth limit, downtime 300 ms\n", "")
    assert running.asked == [("web1", "Set", wanted)]


def test_vms_of_a_daemon(running: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    running.reports = [{"kind": "daemon", "name": "nbdtun-dest", "pid": 7, "bandwidth": 1024, "serves": ["web1", "*=/run/{vm}.qmp"]}]
    words = ["--vm", "web1=web1.qmp", "--vm", "*=/run/{vm}.qmp", "--remove-vm", "db*", "--bandwidth", "1k"]
    status, out, err = run(capsys, "set", "@7", *words)
    assert (status, err) == (0, "")
    assert out.splitlines() == ["nbdtun-dest (pid 7): at most 1 KiB/s", "nbdtun-dest (pid 7): serves web1, *=/run/{vm}.qmp"]
    vms = {"add": [f"web1={tmp_path}/web1.qmp", "*=/run/{vm}.qmp"], "remove": ["db*"]}
    assert running.asked == [("@7", "Set", {"bandwidth": 1024}), ("@7", "Serve", {"vms": vms})]
    running.reports[0]["serves"] = []
    assert run(capsys, "set", "@7", "--remove-vm", "*")[1] == "nbdtun-dest (pid 7): serves no VM\n"


def test_processes_that_have_not_taken_it(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    missed = ["process 5, which was replaced, has not taken it: it cannot"]
    running.reports = [{"kind": "daemon", "name": "nbdtun-dest", "pid": 7, "bandwidth": 1024, "serves": ["web1"], "missed": missed}]
    told = ["nbdtun-dest (pid 7): at most 1 KiB/s", *missed, "nbdtun-dest (pid 7): serves web1", *missed]
    assert run(capsys, "set", "@7", "--bandwidth", "1k", "--remove-vm", "x")[1].splitlines() == told


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("set",), "Missing argument 'VM|SOCKET|@PID'."),
        (("set", "web1"), "nothing to set: give --bandwidth, --downtime, --switchover, --vm or --remove-vm"),
        (("set", "web1", "--bandwidth", "0"), "Invalid value for '--bandwidth': bandwidth must be more than 0; for no limit, give none"),
        (("set", "web1", "--bandwidth", "fast"), "Invalid value for '--bandwidth': 'fast' is not a rate"),
        (("set", "@7", "--vm", "web1"), "Invalid value for '--vm': 'web1' does not have the form NAME=PATH"),
        (("set", "web1", "--switchover", "later"), "Invalid value for '--switchover': 'later' is not a moment such as 02:00"),
        (("set", "web1", "--downtime", "soon"), "Invalid value for '--downtime': 'soon' is not a duration"),
    ],
)
def test_wrong_usage_asks_nobody(words: tuple[str, ...], line: str, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"nbdtun: {line}")
    assert err.count("\n") == 1
    assert running.asked == []


def test_too_late(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.error = TooLate("web1: its limits cannot be changed in phase finish")
    assert run(capsys, "set", "web1", "--bandwidth", "1k") == (1, "", f"nbdtun: {running.error.line}\n")
