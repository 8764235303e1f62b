from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MigrationError
from nbdtun.migration.check.activity import Activity, activity
from nbdtun.migration.vm.disks import Disk
from tests.migration.stage.paper_qemu import PaperQemu

MIB = 1 << 20


class Busy(PaperQemu):
    """A guest that writes a MiB a second to each of its disks, and as much to its RAM as it is told."""

    def __init__(self) -> None:
        super().__init__(Clock(), "web1", disks={"vda": 1, "vdb": 1})
        self.more = {"calc-dirty-rate"}
        self.dirty: dict[str, Any] = {"status": "unstarted"}
        self.seconds = 1.0
        Deferred.fromCoroutine(self.connect())

    def query_blockstats(self, query_nodes: bool = False) -> Any:
        return [{"node-name": disk, "stats": {"wr_bytes": int(self.clock.seconds() * MIB)}} for disk in self.disks]

    def calc_dirty_rate(self, calc_time: int) -> Any:
        assert calc_time == 1
        self.dirty = {"status": "measuring"}
        self.clock.callLater(self.seconds, setattr, self, "dirty", {"status": "measured", "dirty-rate": 7})

    def query_dirty_rate(self) -> Any:
        return self.dirty


def watch(qemu: Busy) -> Any:
    got: list[Any] = []
    looking = Deferred.fromCoroutine(activity(qemu, qemu.clock, [Disk("vda", "", "a", 1)]))
    looking.addCallbacks(got.append, lambda failure: got.append(failure.value))
    qemu.clock.pump([0.001] * 20 + [0.05] * 300)
    return got[0]


def test_a_busy_guest() -> None:
    found = watch(Busy())
    assert isinstance(found, Activity)
    assert found.memory == 7 * MIB
    assert found.writes == pytest.approx(MIB, rel=0.1)  # of the disk that is to be copied


def test_somebody_else_measures() -> None:
    qemu = Busy()
    qemu.dirty = {"status": "measuring"}
    error = watch(qemu)
    assert isinstance(error, MigrationError)
    assert str(error) == "web1: QEMU is already measuring the dirty rate for another client; try again later"
    assert "calc-dirty-rate" not in qemu.asked


def test_a_qemu_that_cannot() -> None:
    qemu = Busy()
    qemu.lacks = {"calc-dirty-rate"}
    assert "cannot measure" in str(watch(qemu))


def test_it_does_not_wait_for_ever() -> None:
    qemu = Busy()
    qemu.seconds = 1e6
    assert "did not measure the dirty rate within 11 s" in str(watch(qemu))
