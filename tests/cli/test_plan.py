"""``nbdtun plan``: what it asks for, prints and returns. The plans themselves are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from nbdtun.errors import MonitorError
from nbdtun.migration.finding import Finding, Level
from nbdtun.service import planning
from nbdtun.spawn.rewrite.answers import Answers
from nbdtun.spawn.values import Found, Plan
from tests.cli.stage import run
from tests.spawn.stage import PLAN, evolved

WORDS = ("plan", "web1", "--qmp", "/run/web1.qmp")
LACKS = Finding(Level.FAILURE, "place", "there is no tap tap7", "make it", "not-migratable")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked for; the plan is always the same."""
    found: list[Any] = []

    async def draw(reactor: object, vm: str, qmp: str, answers: Answers) -> Plan:
        found.append((vm, qmp, answers))
        if answers.unit:
            raise MonitorError("nobody there")
        return PLAN

    async def examine(drawn: Plan, far: object) -> planning.Planned:
        return planning.Planned(drawn, Found("/opt/qemu", "7.2.0", ("/data",), (LACKS,) if drawn is PLAN and found[0][2].maps else ()))

    monkeypatch.setattr(planning, "draw", draw)
    monkeypatch.setattr(planning, "examine", examine)
    monkeypatch.setattr("nbdtun.cli.plan.log_to_stderr", lambda *, bars: None)
    monkeypatch.setattr("nbdtun.cli.reactor.run", at_once)
    return found


def at_once(reactor: object, start: Callable[[], Deferred[Any]]) -> Any:
    outcome: list[Any] = []
    start().addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def test_lines(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *WORDS)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "make   directory /data"
    assert out.splitlines()[-2:] == ["    -incoming defer", "warning  plan                 a warning"]
    assert asked == [("web1", "/run/web1.qmp", Answers())]


def test_answers_are_passed_on(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, *WORDS, "--map", "/a=/b", "--disk", "vda=/c,format=raw", "--set", "vnc.vnc=:2", "--overwrite")
    assert status == 1
    assert out.splitlines()[-1] == "failure  place                there is no tap tap7; make it"
    answers = asked[0][2]
    assert (answers.far("/a/x"), answers.disks["vda"].format, answers.settings, answers.overwrite) == ("/b/x", "raw", ("vnc.vnc=:2",), True)


def test_json(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, *WORDS, "--json")
    told = json.loads(out)
    assert status == 0
    assert (told["fit"], told["emulator"], told["release"], told["directories"]) == (True, "/opt/qemu", "7.2.0", ["/data"])
    assert told["findings"][0]["what"] == "a warning"


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (("--map", "x"), 2, "does not have the form PATH=PATH"),
        (("--disk", "vda=/x,format=vmdk"), 2, "use one of the formats raw, qcow2"),
        (("--to", "host:10810"), 2, "a daemon makes no destination"),
        (("--answers", "/gone"), 2, "--answers /gone cannot be read"),
        (("--unit",), 1, "nobody there [monitor]"),
    ],
)
def test_errors_are_one_line(asked: list[Any], capsys: pytest.CaptureFixture[str], more: tuple[str, ...], status: int, said: str) -> None:
    ended, out, err = run(capsys, *WORDS, *more)
    assert (ended, out) == (status, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_plan_that_does_not_fit() -> None:
    assert not planning.Planned(evolved(PLAN, findings=(LACKS,)), Found()).fit
