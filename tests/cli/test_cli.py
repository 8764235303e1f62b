"""The ``nbdtun`` command from outside: what it prints, how it ends, and that it is quick to answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nbdtun import __version__
from tests.cli.stage import ROOT, run


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"nbdtun {__version__}\n", "")


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--help")
    assert (status, err) == (0, "")
    for word in ("certs", "migrate", "source", "dest"):
        assert word in out


def test_nothing_at_all_is_wrong_usage_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys)
    assert (status, out) == (2, "")
    assert "Usage: nbdtun" in err


def test_a_command_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "nonsense") == (2, "", "nbdtun: No such command 'nonsense'; `nbdtun --help` lists the commands [config]\n")
    assert run(capsys, "config") == (2, "", "nbdtun: Missing command; `nbdtun config --help` lists the commands [config]\n")


def test_an_option_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = "nbdtun: No such option '--nonsense'; `nbdtun status --help` lists the options [config]\n"
    assert run(capsys, "status", "--nonsense") == (2, "", line)
    assert run(capsys, "status", "--jsn") == (2, "", "nbdtun: No such option '--jsn'. Did you mean '--json'? [config]\n")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "nbdtun", "certs", str(tmp_path), "--host", "a"]
        run = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (run.returncode, run.stderr) == (1, "nbdtun: No space left on device\n")


def test_ctrl_c_while_it_loads_is_no_traceback() -> None:
    """It comes while a module is imported, at whatever moment."""
    code = """
import os, sys
sys.addaudithook(lambda event, about: event == "import" and about[0] == "click" and os.kill(os.getpid(), 2))
from nbdtun.__main__ import script
script()
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30
    )
    assert (run.returncode, run.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(tmp_path: Path, closed: str) -> None:
    def ended(words: str) -> int:
        line = f"{sys.executable} -m nbdtun {words} {closed}"
        run = subprocess.run(line, shell=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30)
        assert "Traceback" not in run.stderr
        return run.returncode

    assert ended(f"certs {tmp_path} --host a") == 0
    assert ended("migrate web1 --qmp /none --to tcp:localhost:1") == 1
    assert ended("nonsense") == 2


def test_help_is_quick_and_installs_no_reactor() -> None:
    code = "import sys; from nbdtun.cli import main; main(['migrate', '--help']); sys.exit('twisted.internet.reactor' in sys.modules)"
    times = []
    for _ in range(3):
        began = os.times().children_user + os.times().children_system
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, timeout=30
        )
        times.append(os.times().children_user + os.times().children_system - began)
    assert min(times) < 0.6  # CPU seconds: 0.2 here; rich, cryptography or the reactor would double it


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["migrate", "web1"], "Missing option '--qmp': QMP socket of the VM to migrate"),
        (
            ["check", "web1", "--qmp", "/q"],
            "Missing option '--to': Where the destination listens, such as HOST or HOST:10810; or ssh://HOST, where ssh starts it",
        ),
        (["migrate"], "Missing argument 'VM'."),
    ],
)
def test_what_is_missing_is_told_with_its_meaning(capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert run(capsys, *words) == (2, "", f"nbdtun: {line} [config]\n")


def test_no_summary_of_a_command_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "--help")[1].partition("Commands:")[2]
    assert listed.count("\n") > 7
    assert "..." not in listed
