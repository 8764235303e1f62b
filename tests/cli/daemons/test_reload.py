"""``nbdtun reload``: whom it asks, and what it says then."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

import nbdtun
from nbdtun import __version__
from nbdtun.cli.daemons.reload import installed
from nbdtun.service.control.names import Name
from tests.cli.stage import Running, run

TOLD: dict[str, Any] = {"name": "nbdtun-dest", "pid": 7, "file": "/etc/nbdtun/dest.toml", "taken": [], "left": []}


@pytest.mark.parametrize(
    ("taken", "left", "said"),
    [
        (["vm", "allow"], [], "took vm, allow"),
        ([], ["listen"], "took no changes; listen: restart it to change that"),
        (["vm"], ["listen", "window"], "took vm; listen, window: restart it to change that"),
    ],
)
def test_what_was_taken_and_what_was_not(
    taken: list[str], left: list[str], said: str, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running.reports = [{**TOLD, "taken": taken, "left": left}]
    assert run(capsys, "reload", "@7") == (0, f"nbdtun-dest (pid 7): /etc/nbdtun/dest.toml: {said}\n", "")
    assert running.asked == [("@7", "Reload", {})]


def test_processes_that_have_not_taken_it(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    missed = ["process 5, which was replaced, has not taken it: it cannot"]
    running.reports = [{**TOLD, "taken": ["vm"], "missed": missed}]
    assert run(capsys, "reload", "@7")[1].splitlines() == ["nbdtun-dest (pid 7): /etc/nbdtun/dest.toml: took vm", *missed]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ([], "no migration or daemon of this user is running here"),
        ([Name("web1", "k")], "no migration or daemon"),
        ([Name("", "7"), Name("", "8")], "2 daemons of this user are running here; name one: @7, @8"),
    ],
)
def test_the_daemon_that_runs(
    found: list[Name], line: str, running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbdtun.service.control.socket.names", lambda base: found)
    status, _, err = run(capsys, "reload")
    assert (status, err.startswith(f"nbdtun: {line}"), running.asked) == (2, True, [])
    monkeypatch.setattr("nbdtun.service.control.socket.names", lambda base: [Name("web1", "k"), Name("", "7")])
    running.reports = [TOLD]
    assert run(capsys, "reload")[0] == 0
    assert running.asked == [("@7", "Reload", {})]


def test_a_new_program_takes_over(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.reports = [{"name": "nbdtun-dest", "pid": 7, "successor": 8}]
    told = "nbdtun-dest: process 8 has taken over; process 7 "
    assert run(capsys, "reload", "--program", "@7") == (0, f"{told}ends when nothing is left of what it has\n", "")
    assert run(capsys, "reload", "--program", "--drain-timeout", "6h", "@7") == (0, f"{told}keeps what it has for at most 6 h\n", "")
    assert running.asked == [("@7", "Replace", {}), ("@7", "Replace", {"keep": 21600})]
    status, _, err = run(capsys, "reload", "--drain-timeout", "6h")
    assert (status, err) == (2, "nbdtun: --drain-timeout needs --program [config]\n")


def test_the_one_that_was_replaced_is_not_meant(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbdtun.service.control.socket.names", lambda base: [Name("", "7"), Name("", "8"), Name("", "9")])
    every = [("nbdtun-dest", 7, "replaced"), ("nbdtun-dest", 8, "serving"), ("nbdtun-source", 9, "serving")]

    async def reports(*_: object) -> list[dict[str, Any]]:
        return [{"kind": "daemon", "name": name, "pid": pid, "state": state} for name, pid, state in every]

    monkeypatch.setattr("nbdtun.service.control.client.reports", reports)
    status, _, err = run(capsys, "reload")
    assert (status, "2 daemons of this user are running here; name one: @8, @9" in err) == (2, True)
    del every[2]
    running.reports = [{"name": "nbdtun-dest", "pid": 8, "successor": 10}]
    assert run(capsys, "reload", "--program")[0] == 0
    assert running.asked == [("@8", "Replace", {})]


@pytest.mark.parametrize(
    ("release", "uptime", "asked"), [(__version__, 60.0, "Reload"), ("0.0.1", 60.0, "Replace"), (__version__, 600.0, "Replace")]
)
def test_another_program_takes_over_and_the_same_one_reads_its_file(
    release: str, uptime: float, asked: str, running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another release, or the same was installed again while the daemon ran."""
    monkeypatch.setattr("nbdtun.cli.daemons.reload.installed", lambda: time.time() - 300)
    running.reports = [{"name": "nbdtun-dest", "pid": 7, "release": release, "uptime": uptime, "successor": 8, **TOLD}]
    assert run(capsys, "reload", "--upgrade", "@7")[0] == 0
    assert [command for _, command, _ in running.asked] == ["Status", asked]


def test_when_it_was_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is moved in place is as new as that, however old it says it is; in a zipapp, it is that file."""
    before = time.time() - 1  # a file's time is that of the last tick of the clock
    unpacked, packed = tmp_path / "__init__.py.dpkg-new", tmp_path / "nbdtun.pyz"
    unpacked.touch()
    os.utime(unpacked, (0, 0))
    unpacked.rename(tmp_path / "__init__.py")
    with ZipFile(packed, "w") as archive:
        archive.writestr("nbdtun/__init__.py", "")
    for path in (tmp_path / "__init__.py", packed / "nbdtun/__init__.py"):
        monkeypatch.setattr(nbdtun, "__file__", f"{path}")
        assert before < installed() <= time.time()
