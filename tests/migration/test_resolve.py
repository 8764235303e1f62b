"""What the destination says of a VM whose migration was left open."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import MonitorLost
from nbdtun.migration.resolve import ARRIVED, GONE, settle


class Qemu:
    """A monitor of a machine in some state."""

    def __init__(self, state: str, migration: str = "completed", writes: int = 0) -> None:
        self.ended = False
        self._answers: dict[str, Any] = {
            "query-status": {"status": state},
            "query-migrate": {"status": migration},
            "query-blockstats": [{"stats": {"wr_operations": 0}}, {"stats": {"wr_operations": writes}}],
        }

    async def execute(self, command: str, *_: Any, **__: Any) -> Any:
        if command == "quit":
            self.ended = True
            raise MonitorLost("gone")
        return self._answers[command]


def settled(qemu: Any) -> str:
    answers: list[str] = []
    Deferred.fromCoroutine(settle(qemu)).addCallback(answers.append)
    return answers[0]


@pytest.mark.parametrize("state", ["running", "shutdown", "guest-panicked", "suspended", "io-error"])
def test_a_guest_that_runs_or_has_run_has_arrived(state: str) -> None:
    qemu = Qemu(state)
    assert settled(qemu) == ARRIVED
    assert not qemu.ended


def test_a_paused_guest_that_has_written_has_run() -> None:
    qemu = Qemu("paused", writes=1)
    assert settled(qemu) == ARRIVED
    assert not qemu.ended


@pytest.mark.parametrize("state", ["paused", "inmigrate", "prelaunch", "postmigrate"])
def test_one_that_waits_to_be_told_never_will_be(state: str) -> None:
    qemu = Qemu(state)
    assert settled(qemu) == GONE
    assert qemu.ended


def test_a_fresh_qemu_is_left_alone() -> None:
    qemu = Qemu("inmigrate", migration="none")
    assert settled(qemu) == GONE
    assert not qemu.ended
