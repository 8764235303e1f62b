"""``nbdtun check``: what it asks for, prints and returns. The checks themselves are elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from nbdtun.config import MigrateSettings
from nbdtun.errors import NotMigratable
from nbdtun.migration.catalogue import CLOCK, MACHINE
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Check, Finding
from nbdtun.migration.settings import MigrationSettings
from tests.cli.stage import MIGRATE, run

CHECK = ("check", *MIGRATE[1:])


def checked(error: NotMigratable | None) -> Callable[..., Any]:
    """A check that finds something, and is asked how."""

    def check(reactor: Any, settings: Any, report: Callable[[Finding], None], *, measure: bool) -> Deferred[Report]:
        asked.append((settings, measure))
        checklist = Checklist(report)
        checklist.ok(Check.STATE, "the guest runs")
        checklist.add(CLOCK("two hours\nbehind", "set it"))
        with checklist.collecting(MACHINE):
            if error is not None:
                raise error
        return succeed(Report("web1", checklist.level, tuple(checklist.findings)))

    asked: list[Any] = []
    check.asked = asked  # type: ignore[attr-defined]
    return check


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Puts a check in the place of the real one, and no reactor around it."""

    def put(check: Any) -> None:
        service = ModuleType("nbdtun.service")
        service.check = check  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nbdtun.service", service)
        monkeypatch.setattr("nbdtun.service", service, raising=False)
        monkeypatch.setattr("nbdtun.cli.check.log_to_stderr", lambda *, bars: None)
        monkeypatch.setattr("nbdtun.cli.reactor.run", lambda reactor, start: start().result)

    return put


def test_lines(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check = checked(None)
    serve(check)
    status, out, err = run(capsys, *CHECK)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "ok       state                the guest runs",
        "warning  clock                two hours behind; set it",
        "web1 can be migrated: 1 warning",
    ]
    settings = MigrateSettings(connect="unix:/run/tunnel.sock", qmp="/run/web1.qmp", migration=MigrationSettings(vm="web1"))
    assert check.asked == [(settings, True)]  # type: ignore[attr-defined]


def test_a_failure_is_status_1(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check = checked(NotMigratable("they differ", "make them alike"))
    serve(check)
    status, out, err = run(capsys, *CHECK, "--no-measure")
    assert (status, err) == (1, "")
    assert out.splitlines()[2:] == [
        "failure  machine              they differ; make them alike",
        "web1 cannot be migrated: 1 failure, 1 warning",
    ]
    assert check.asked[0][1] is False  # type: ignore[attr-defined]


def test_json(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    serve(checked(NotMigratable("they differ", "make them alike")))
    status, out, err = run(capsys, *CHECK, "--json")
    assert (status, err) == (1, "")
    told = json.loads(out)
    assert (told["vm"], told["level"]) == ("web1", "failure")
    assert told["findings"][-1] == {
        "name": None,
        "level": "failure",
        "check": "machine",
        "what": "they differ",
        "remedy": "make them alike",
        "code": "not-migratable",
    }


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", "web1")[0] == 2
    status, out, err = run(capsys, *CHECK, "--progress", "json")
    assert (status, out) == (2, "")
    assert err.startswith("nbdtun: No such option")
