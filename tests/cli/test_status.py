"""``nbdtun status``: of all, of one, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbdtun.cli.status import LOOK
from nbdtun.errors import ConfigError, MigrationError
from tests.cli.stage import REPORT, SENTENCE, Running, run


def test_a_line_for_each(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.reports = [REPORT, {"name": "web2", "error": "web2: its process has not answered"}]
    assert run(capsys, "status") == (0, f"{SENTENCE}\nweb2: its process has not answered\n", "")
    assert running.asked == []


def test_vms_of_one_name_are_shown_with_their_monitors(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.reports = [{**REPORT, "qmp": f"/run/{each}.qmp"} for each in "ab"]
    out = "".join(SENTENCE.replace("(pid", f"(/run/{each}.qmp, pid") + "\n" for each in "ab")
    assert run(capsys, "status") == (0, out, "")


def test_one_of_them(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.reports = [REPORT]
    assert run(capsys, "status", "web1") == (0, f"{SENTENCE}\n", "")
    assert running.asked == [("web1", "Status", {})]


def test_json_is_one_object_a_line(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.reports = [REPORT, {"name": "web2", "error": "web2: gone"}]
    status, out, err = run(capsys, "status", "--json")
    assert (status, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == running.reports


def test_nothing_runs(running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"no migration or daemon of this user is running here ({tmp_path}/control); those of other users are not shown\n"
    assert run(capsys, "status", "--run-dir", str(tmp_path)) == (0, line, "")
    assert run(capsys, "status", "--json") == (0, "", "")
    assert tmp_path in running.bases


def test_it_is_watched_until_it_ends(running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    running.reports = [REPORT]
    looks: list[float] = []

    async def later(reactor: object, seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            running.error = ConfigError("web1: no such migration")

    monkeypatch.setattr("twisted.internet.task.deferLater", later)
    assert run(capsys, "status", "web1", "--watch") == (0, f"{SENTENCE}\n", "")  # it has not changed between two looks
    assert looks == [LOOK, LOOK]
    assert run(capsys, "status", "web1", "--watch") == (2, "", "nbdtun: web1: no such migration [config]\n")  # it was never there


def test_ctrl_c_is_the_end_of_watching(running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(reactor: object, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("twisted.internet.task.deferLater", interrupted)
    running.reports = [REPORT]
    status, out, err = run(capsys, "status", "--watch", "--json")
    assert (status, json.loads(out), err) == (0, REPORT, "")


def test_no_answer_is_one_line(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.error = MigrationError("web1: its process has not answered for 10 s; is it stopped?")
    assert run(capsys, "status", "web1") == (1, "", f"nbdtun: {running.error.line}\n")
