from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from nbdtun.errors import DiskMismatch, NotMigratable
from nbdtun.migration.catalogue import CLOCK, DISKS, THROUGHPUT
from nbdtun.migration.check.checklist import Checklist, Once
from nbdtun.migration.finding import Check, Finding, Level


def test_it_goes_on_behind_an_error() -> None:
    told: list[Finding] = []
    checklist = Checklist(told.append)
    assert checklist.level is Level.OK
    with checklist.collecting(THROUGHPUT):
        raise NotMigratable("one", "two")
    checklist.ok(Check.STATE, "three")
    assert checklist.level is Level.WARNING
    with checklist.collecting(DISKS):
        raise DiskMismatch("four")
    checklist.add(CLOCK("five", "six"))
    assert checklist.level is Level.FAILURE
    assert [(finding.level.value, finding.check) for finding in told] == [
        ("warning", "throughput"),
        ("ok", "state"),
        ("failure", "disks"),
        ("warning", "clock"),
    ]
    assert told == checklist.findings
    assert repr(checklist) == "<Checklist of 4, failure>"


def test_a_bug_is_no_finding() -> None:
    checklist = Checklist()
    with pytest.raises(ZeroDivisionError), checklist.collecting(DISKS):
        raise ZeroDivisionError
    assert checklist.findings == []


def test_who_obeys_is_stopped_by_all_failures_at_once() -> None:
    checklist = Checklist()
    checklist.add(CLOCK("one"))
    checklist.raise_failures("web1")
    for error in (DiskMismatch("too small", "enlarge it"), NotMigratable("later")):
        with checklist.collecting(DISKS):
            raise error
    with pytest.raises(DiskMismatch, match=r"^too small; enlarge it; later$"):
        checklist.raise_failures("web1")


def test_what_was_read_once_is_told_to_all() -> None:
    made: list[str] = []

    async def read(checklist: Checklist) -> str:
        made.append("read")
        checklist.add(CLOCK("one"))
        return "two"

    told: list[Finding] = []
    first, second, once = Checklist(told.append), Checklist(), Once(read)
    assert [Deferred.fromCoroutine(once.into(checklist)).result for checklist in (first, second)] == ["two", "two"]
    assert made == ["read"]
    assert [finding.what for finding in second.findings] == ["one"]
    assert told == first.findings == second.findings


def test_what_could_not_be_read_once_is_told_to_all() -> None:
    async def fail(checklist: Checklist) -> str:
        raise NotMigratable(f"after {len(made)}")

    made: list[object] = []
    once = Once(fail)
    for _ in range(2):
        failed = Deferred.fromCoroutine(once.into(Checklist())).addErrback(made.append)
        assert failed.called
    assert [str(failure.value) for failure in made if isinstance(failure, Failure)] == ["after 0", "after 0"]
