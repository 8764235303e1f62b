"""Two cores as two hosts: what is started on one stays there, and whoever starts it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.cores import Cores, a_core_for_each, move, started_on

ASK = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]


@pytest.fixture
def cores() -> Cores:
    return a_core_for_each() or pytest.skip("there is only one core")


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """This process runs where it ran."""
    before = os.sched_getaffinity(0)
    yield
    assert os.sched_getaffinity(0) == before


def test_each_host_has_one_of_those_that_there_are(cores: Cores) -> None:
    assert {cores.source, cores.destination} <= os.sched_getaffinity(0)
    assert cores.source != cores.destination


def test_there_are_no_two_hosts_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    found = a_core_for_each()
    monkeypatch.undo()
    assert found is None


def test_what_is_started_there_stays_there(cores: Cores) -> None:
    with started_on(cores.destination):
        assert subprocess.check_output(ASK, text=True).split() == [f"{cores.destination}"]


def test_what_is_started_anywhere_runs_anywhere() -> None:
    with started_on(None):
        assert set(map(int, subprocess.check_output(ASK, text=True).split())) == os.sched_getaffinity(0)


def test_one_that_runs_already_is_moved(cores: Cores) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        move(sleeper.pid, cores.source)
        assert os.sched_getaffinity(sleeper.pid) == {cores.source}
        move(sleeper.pid, None)
        assert os.sched_getaffinity(sleeper.pid) == {cores.source}
        sleeper.kill()
