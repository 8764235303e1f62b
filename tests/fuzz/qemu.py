"""What a QEMU answers, or what stands behind its monitor: to all that it is ever asked. This is a target as those of ``targets``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.errors import MonitorError, NbdtunError
from nbdtun.migration.check.blockers import require_unblocked
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.obstacles import note_obstacles_to_arriving, note_obstacles_to_leaving
from nbdtun.migration.destination.outcome import settle
from nbdtun.migration.progress import LinkState
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.qmp.schema import ANSWERS, mismatch
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.vm.disks import Disk, inventory
from nbdtun.migration.vm.exports import nodes
from nbdtun.migration.vm.exports import sweep as sweep_exports
from nbdtun.migration.vm.hardware.read import hardware
from nbdtun.migration.vm.machine import machine, run_state
from nbdtun.migration.vm.memory import Tuning, query_migration, require_incoming
from nbdtun.migration.vm.mirror import jobs
from nbdtun.migration.vm.outline import outline
from tests.migration.stage.paper import Sheet


class Broken(Sheet):
    """A monitor behind which is no QEMU, or not a sane one: ``say`` is what it answers to a command."""

    def __init__(self, say: Callable[[str], Any]) -> None:
        super().__init__(Clock(), {})
        self._say = say

    async def execute(self, command: str, *_: Any, **__: Any) -> Any:
        answer = self._say(command)
        if wrong := mismatch(ANSWERS.get(command), answer):
            raise MonitorError(wrong)
        return answer


async def _ask_all(monitor: Monitor) -> None:
    clock = Clock()
    undo = UndoStack(clock, 1.0)
    meter = Meter(clock, lambda progress: None, LinkState)
    works: list[Callable[[], Any]] = [
        lambda: inventory(monitor),
        lambda: hardware(monitor),
        lambda: machine(monitor),
        lambda: run_state(monitor),
        lambda: query_migration(monitor),
        lambda: nodes(monitor),
        lambda: jobs(monitor),
        lambda: sweep_exports(monitor),
        lambda: settle(monitor),
        lambda: require_unblocked(monitor),
        lambda: require_incoming(monitor),
        lambda: outline(monitor),
        lambda: note_obstacles_to_leaving(Checklist(), monitor, (Disk("d0", "", "vda", 1 << 20),), frozenset()),
        lambda: note_obstacles_to_arriving(Checklist(), monitor, ()),
        lambda: Tuning(monitor).set(undo, ("events",), {"max-bandwidth": 1}),
    ]
    for work in works:
        with contextlib.suppress(NbdtunError):
            await work()
    with contextlib.suppress(NbdtunError):
        meter.memory(await query_migration(monitor))
        meter.jobs(await monitor.execute("query-block-jobs"))
        meter.sample()
        json.dumps(meter.now.as_json(), allow_nan=False)
    with contextlib.suppress(NbdtunError):
        await monitor.has("migrate-incoming")


def ask_all(say: Callable[[str], Any]) -> None:
    """All that is ever asked of a QEMU, asked of one that answers what ``say`` returns."""
    done = Deferred.fromCoroutine(_ask_all(Broken(say)))
    trouble: list[Failure] = []
    done.addErrback(trouble.append)
    assert not trouble, trouble[0].getTraceback()


def qmp(data: bytes) -> None:
    """Whatever JSON a monitor answers: one value for all, or an object with one for each command."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    ask_all(lambda command: value[command] if isinstance(value, dict) and command in value else value)
