"""What a migration may use: shared by the disks, then the memory's; and changed wherever the migration is."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.supervision.budget import UNLIMITED, Budget
from nbdtun.migration.vm.memory import Tuning
from nbdtun.migration.vm.mirror import Mirrors
from tests.migration.stage.paper import Sheet

BEFORE = {"max-bandwidth": 128 << 20, "downtime-limit": 300}


class Copying(Mirrors):
    """So many mirrors that remember the speeds they were given."""

    def __init__(self, count: int) -> None:
        super().__init__(Sheet(Clock(), {}), ())
        self.count = count
        self.speeds: list[int] = []

    def __len__(self) -> int:
        return self.count

    async def set_speed(self, speed: int) -> None:
        self.speeds.append(speed)


def sheet(**answers: Any) -> Sheet:
    return Sheet(Clock(), {"query-migrate-capabilities": [], "query-migrate-parameters": BEFORE, **answers})


def told(qemu: Sheet) -> list[dict[str, Any]]:
    """The parameters that QEMU was told."""
    return qemu.arguments.get("migrate-set-parameters", [])


def do(work: Any) -> None:
    """It waits for nothing."""
    done = Deferred.fromCoroutine(work)
    assert done.result is None


@pytest.mark.parametrize(
    ("bandwidth", "disks", "speed"), [(None, 2, 0), (1000, 1, 1000), (1000, 3, 333), (2, 3, 1), (1000, 0, 0), (None, 0, 0)]
)
def test_disks_share_it_equally_and_none_is_left_without(bandwidth: int | None, disks: int, speed: int) -> None:
    assert Budget(bandwidth, 0.3).part(disks) == speed


def test_what_qemu_is_told() -> None:
    assert Budget(1000, 0.3).parameters == {"max-bandwidth": 1000, "downtime-limit": 300}
    assert Budget(None, 1.5).parameters == {"max-bandwidth": UNLIMITED, "downtime-limit": 1500}


def test_before_anything_runs_it_is_only_noted() -> None:
    budget = Budget(None, 0.3)
    do(budget.set_bandwidth(1000))
    do(budget.set_downtime(2.0))
    assert budget.parameters == {"max-bandwidth": 1000, "downtime-limit": 2000}
    assert repr(budget) == "<Budget of 1000 bytes/s, 2 s>"


def test_mirrors_that_run_are_told() -> None:
    budget, mirrors = Budget(1000, 0.3), Copying(2)
    do(budget.limit_disks(mirrors))
    do(budget.set_bandwidth(5000))
    do(budget.set_downtime(1.0))
    do(budget.set_bandwidth(None))
    assert mirrors.speeds == [500, 2500, 0]


def test_memory_that_is_sent_is_told() -> None:
    budget, qemu = Budget(1000, 0.3), sheet()
    do(budget.limit_memory(Tuning(qemu), UndoStack(Clock(), 1), ()))
    do(budget.set_downtime(1.0))
    do(budget.set_bandwidth(None))
    assert told(qemu) == [
        {"max-bandwidth": 1000, "downtime-limit": 300},
        {"max-bandwidth": 1000, "downtime-limit": 1000},
        {"max-bandwidth": UNLIMITED, "downtime-limit": 1000},
    ]


def test_what_changes_while_qemu_is_being_told_is_told_again() -> None:
    def meanwhile() -> list[Any]:
        do(budget.set_bandwidth(7))
        return []

    budget = Budget(1000, 0.3)
    qemu = sheet(**{"query-migrate-capabilities": meanwhile})
    do(budget.limit_memory(Tuning(qemu), UndoStack(Clock(), 1), ()))
    assert [parameters["max-bandwidth"] for parameters in told(qemu)] == [1000, 7]


def test_afterwards_qemu_has_what_it_had() -> None:
    budget, qemu = Budget(1000, 0.3), sheet()
    tuning = Tuning(qemu)
    do(budget.limit_memory(tuning, UndoStack(Clock(), 1), ("events",)))
    do(budget.set_bandwidth(5000))
    do(tuning.restore())
    assert told(qemu)[-1] == BEFORE
    assert qemu.arguments["migrate-set-capabilities"][-1] == {"capabilities": [{"capability": "events", "state": False}]}


def test_it_has_no_more_than_others_leave_to_it() -> None:
    budget, mirrors, qemu = Budget(1000, 0.3), Copying(2), sheet()
    do(budget.limit_disks(mirrors))
    do(budget.set_ceiling(600))
    do(budget.set_bandwidth(400))
    do(budget.set_bandwidth(None))
    do(budget.set_ceiling(None))
    assert mirrors.speeds == [500, 300, 200, 300, 0]
    do(budget.limit_memory(Tuning(qemu), UndoStack(Clock(), 1), ()))
    do(budget.set_ceiling(70))
    assert [parameters["max-bandwidth"] for parameters in told(qemu)] == [UNLIMITED, 70]
