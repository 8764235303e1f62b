"""What somebody has left on in a QEMU's migration: refused, harmless, or unknown."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import NotMigratable
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.vm.capabilities import HARMLESS, NEEDED, REFUSED, suitable, unknown, unsuitable
from tests.migration.stage.paper import Sheet


def told(end: End, *on: str, **parameters: Any) -> list[str]:
    named = {name.replace("_", "-"): value for name, value in parameters.items()}
    return [str(error) for error in unsuitable(end, "QEMU", {"x-colo": False} | dict.fromkeys(on, True), named)]


def test_nothing_is_on() -> None:
    assert told(End.SOURCE, max_bandwidth=7, mode="normal", tls_creds="") == []
    assert told(End.DESTINATION) == []


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("end", list(End))
def test_it_is_refused_where_it_breaks_the_stream(name: str, end: End) -> None:
    ends, why = REFUSED[name]
    lines = told(end, name)
    assert bool(lines) is (end in ends)
    assert end in ends or name in HARMLESS, "each is judged at both ends"
    if lines:
        assert lines == [
            f"QEMU has the migration capability {name} on: {why}; turn it off with migrate-set-capabilities, or restart that QEMU"
        ]


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_parameter_that_must_be_as_it_was(name: str) -> None:
    [line] = told(End.SOURCE, **{name: "other"})
    assert line.startswith(f"QEMU has the migration parameter {name} set to other: ")
    assert told(End.SOURCE, **{name: None}) == []


def test_what_a_later_qemu_has_is_not_known() -> None:
    assert unknown({"x-new": True, "x-other": False, "multifd": True, "events": True}) == ["x-new"]


def test_who_needs_it_is_told_of_the_first() -> None:
    answers = {"query-migrate-capabilities": [{"capability": "multifd", "state": True}], "query-migrate-parameters": {}}
    got: list[Any] = []
    Deferred.fromCoroutine(suitable(Sheet(Clock(), answers), End.DESTINATION)).addErrback(got.append)
    assert isinstance(got[0].value, NotMigratable)
    assert str(got[0].value).startswith("QEMU at the destination has the migration capability multifd on: ")
