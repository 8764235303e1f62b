"""What ``status``, ``set`` and ``cancel`` have in common: a reactor that runs once."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from nbdtun.cli.remote import asked, base
from nbdtun.errors import MigrationError
from tests.cli.stage import FakeReactor, interrupts


def test_nothing_runs(tmp_path: Path) -> None:
    """In a process of its own, as a reactor can be run but once."""

    def said(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([sys.executable, "-m", "nbdtun", *words, "--run-dir", str(tmp_path)], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    where = f"of this user is running here ({tmp_path}/control)"
    assert said("status") == (0, f"no migration or daemon {where}; those of other users are not shown\n", "")
    assert said("status", "--json") == (0, "", "")
    assert said("cancel", "web1") == (
        2,
        "",
        f"nbdtun: web1: no such migration or daemon {where}; `nbdtun status` lists this user's [config]\n",
    )
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
