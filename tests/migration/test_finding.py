from __future__ import annotations

from nbdtun.errors import CommandFailed, LinkLost, NotMigratable
from nbdtun.migration.finding import Finding, Level


def test_an_error_is_a_finding() -> None:
    finding = Finding.of("machine", NotMigratable("the machines differ", "start it with -machine a"))
    assert finding == Finding(Level.FAILURE, "machine", "the machines differ", "start it with -machine a", "not-migratable")
    assert str(finding) == "the machines differ; start it with -machine a"
    assert Finding.of("tunnel", LinkLost("gone"), Level.WARNING) == Finding(Level.WARNING, "tunnel", "gone", "", "link-lost")
    assert str(Finding.of("source", CommandFailed("no", "CommandNotFound"))) == "no"


def test_json_has_nothing_where_there_is_nothing() -> None:
    json = Finding(Level.OK, "clock", "alike").as_json()
    assert json == {"level": "ok", "check": "clock", "what": "alike", "remedy": None, "code": None, "name": None}
