"""What ``status``, ``set`` and ``cancel`` have in common: a sentence for each report, and a reactor that runs once."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.cli.remote import asked, base, sentence
from nbdtun.errors import MigrationError
from tests.cli.stage import REPORT, SENTENCE, FakeReactor, interrupts


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, ""),
        ({"bandwidth": None, "downtime": 0.3}, "; no bandwidth limit, downtime 300 ms"),
        ({"bandwidth": 1 << 30, "downtime": 2.0}, "; at most 1 GiB/s, downtime 2.0 s"),
    ],
)
def test_a_sentence(limits: dict[str, Any], words: str) -> None:
    assert sentence({**REPORT, **limits}) == SENTENCE + words


def test_a_daemon_has_no_progress() -> None:
    assert sentence({"name": "nbdtun-dest", "pid": 7, "bandwidth": 1 << 20}) == "nbdtun-dest (pid 7): at most 1 MiB/s"


@pytest.mark.parametrize("odd", [{"progress": {}}, {"progress": [7]}, {"bandwidth": "much"}, {"bandwidth": 7, "downtime": []}], ids=str)
def test_one_of_another_release_is_no_reason_to_fail(odd: dict[str, Any]) -> None:
    assert sentence({"name": "web1", "pid": 7, **odd}).startswith("web1 (pid 7): it reports what cannot be read: ")


def test_its_words_are_one_line() -> None:
    hostile = {"name": "web1\x1b[2J\nnbdtun: all is well", "error": "no\x07\nmore"}
    assert sentence(hostile) == "no? more"
    del hostile["error"]
    assert sentence(hostile) == "web1?[2J nbdtun: all is well (pid None):"


def test_one_that_does_not_answer() -> None:
    assert sentence({"name": "web1", "error": "web1: its process has not answered"}) == "web1: its process has not answered"


def test_nothing_runs(tmp_path: Path) -> None:
    """In a process of its own, as a reactor can be run but once."""

    def said(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([sys.executable, "-m", "nbdtun", *words, "--run-dir", str(tmp_path)], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    where = f"is running here ({tmp_path}/control)"
    assert said("status") == (0, f"no migration or daemon {where}\n", "")
    assert said("status", "--json") == (0, "", "")
    assert said("cancel", "web1") == (2, "", f"nbdtun: web1: no such migration or daemon {where}; `nbdtun status` lists them [config]\n")
    assert said("set", "../web1", "--bandwidth", "1G")[0] == 2


def test_work_that_has_a_result_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(reactor: object) -> int:
        assert reactor is once
        if fails:
            raise MigrationError("no answer")
        return 5

    for fails in (False, True):
        once = FakeReactor()
        monkeypatch.setattr("twisted.internet.reactor", once)
        with pytest.raises(MigrationError, match="no answer") if fails else nullcontext():
            assert asked(work) == 5


def test_work_that_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def work(reactor: object) -> None:
        try:
            await Deferred()
        finally:
            ended.append("hung up")

    monkeypatch.setattr("twisted.internet.reactor", FakeReactor(interrupts(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        asked(work)
    assert ended == ["hung up"]


def test_where_the_control_sockets_are(tmp_path: Path) -> None:
    assert base(str(tmp_path)) == tmp_path
