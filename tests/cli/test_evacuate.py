"""``nbdtun evacuate`` from outside: wrong usage, and a host without VMs. integration/test_evacuate has real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry, Move
from tests.cli.stage import run

QMP = "/run/qemu/{vm}.qmp"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "give --libvirt for libvirt's VMs, or --qmp"),
        (("--qmp", QMP), "there is no destination; give --to"),
        (("--qmp", QMP, "--to", "https://hv2"), "Invalid value for '--to': 'https://hv2' is not an endpoint to connect to"),
        (("--qmp", "/run/web1.qmp", "--to", "hv2"), "--qmp /run/web1.qmp: it must be an absolute path with {vm}"),
        (("--qmp", QMP, "--to", "hv2", "--window", "1MiB"), "'1MiB' does not have the form HH:MM-HH:MM"),
        (("--qmp", QMP, "--to", "hv2", "--pin", "web1"), "Invalid value for '--pin': 'web1' does not have the form VM=DESTINATION"),
        (("--qmp", QMP, "--to", "hv2", "--settle", "soon"), "Invalid value for '--settle'"),
        (("--resume", "--to", "hv2"), "--resume goes on with what is in the journal"),
        (("--plan", "/nowhere/plan.toml"), "/nowhere/plan.toml cannot be read"),
        (("--resume", "--report", "/nowhere/report.json"), "--report /nowhere: No such file or directory"),
        (("--qmp", QMP, "--to", "hv2", "--hook", "/nowhere"), "--hook /nowhere: No such file or directory"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "evacuate", *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"nbdtun: {line}")
    assert err.count("\n") == 1


def test_a_host_without_vms_is_empty_already(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nbdtun", "evacuate", "--qmp", f"{tmp_path}/{{vm}}.qmp", "--to", "127.0.0.1", "--insecure"]
    more = ["--run-dir", f"{tmp_path}/run", "--progress", "json"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert '"status": 0' in done.stdout
    (tmp_path / "report").mkdir()
    told = subprocess.run([*command[:4], "--resume", *more, "--report", f"{tmp_path}/report"], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr.count("--resume --report")) == (0, 1)
    again = subprocess.run([*command[:4], "--resume", *more, "--journal", f"{tmp_path}/none"], capture_output=True, text=True, timeout=60)
    assert again.returncode == 2
    assert "there is no evacuation in the journal" in again.stderr
    assert not list(tmp_path.glob("none*"))


def test_what_the_journal_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path / "j").open()
    words = ("evacuate", "--resume", "--dry-run", "--journal", f"{tmp_path}/j")
    status, out, _ = run(capsys, *words, "--json")
    told = json.loads(out)
    assert (status, told["vms"], told["over"], told["running"]) == (0, [], True, True)
    journal.begin(Terms(qmp=QMP, to=("hv2",)), [Entry(Move("web1", "/run/qemu/web1.qmp", "hv2"))])
    assert run(capsys, *words) == (0, "web1: waits\nit is under way\n", "")
    journal.close()
    told = json.loads(run(capsys, *words, "--json")[1])
    assert ([vm["state"] for vm in told["vms"]], told["over"], told["running"]) == (["waiting"], False, False)
    assert run(capsys, *words[:-1], f"{tmp_path}/none") == (0, "nothing is under way\n", "")
    assert not (tmp_path / "none").exists()
