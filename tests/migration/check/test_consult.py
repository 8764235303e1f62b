"""The destination is asked for its findings."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import NotMigratable
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.consult import consult
from nbdtun.migration.check.departure import Departure
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.machine import Machine
from nbdtun.versions import Agreed

HERE = Departure(Hardware(Machine("pc", 1)), (), True)


class Told:
    """A control channel whose other end has one answer."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def ask(self, command: Any, *, seconds: float, **told: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def consulted(answer: Any, departure: Departure | None = HERE) -> tuple[Any, list[str]]:
    checklist, got, control = Checklist(), list[Any](), Told(answer)
    asking = consult(checklist, control, departure, MigrationSettings(vm="web1"))  # type: ignore[arg-type]
    Deferred.fromCoroutine(asking).addCallback(got.append)
    return got[0], [f"{finding.level.value} {finding}" for finding in checklist.findings]


def test_its_findings_and_its_time() -> None:
    row = {"level": "failure", "check": "cpu", "what": "it lacks aes", "remedy": "add it", "code": "not-migratable", "name": "cpu"}
    told = {**Agreed(1).fields(), "findings": [row], "time": 2_000_000, "spaces": None}
    assert consulted(told) == (2.0, ["failure it lacks aes; add it"])


def test_it_refuses() -> None:
    assert consulted(NotMigratable("web1 is busy")) == (None, ["failure web1 is busy"])


@pytest.mark.parametrize("machine", ["inmigrate", "prelaunch", "unreachable"])
def test_nothing_to_compare(machine: str) -> None:
    assert consulted({"machine": machine}, None) == (None, ["warning not compared: the source QEMU could not be asked"])


@pytest.mark.parametrize("machine", ["running", "paused"])
def test_it_has_moved_already(machine: str) -> None:
    told = f"failure web1 is already {machine} at the destination; if it has moved, nothing is left to do"
    assert consulted({"machine": machine}, None) == (None, [told])
