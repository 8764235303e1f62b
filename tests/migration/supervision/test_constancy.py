"""A machine that is to stay as it is: who is told when it does not, and when."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import NotMigratable
from nbdtun.migration.supervision.constancy import POLL_SECONDS, Constancy
from nbdtun.migration.vm.outline import MAX_TOLD
from tests.migration.stage.paper_qemu import PaperQemu


class Watched:
    def __init__(self) -> None:
        self.clock = Clock()
        self.qemu = PaperQemu(self.clock, "web1")
        Deferred.fromCoroutine(self.qemu.connect())
        self.alarms: list[str] = []
        self.constancy = Constancy(self.clock, self.qemu, "web1 at the source", lambda error: self.alarms.append(str(error)))
        self.does(self.constancy.begin())

    def does(self, work: object) -> list[object]:
        ended: list[object] = []
        Deferred.fromCoroutine(work).addBoth(ended.append)  # type: ignore[arg-type]
        self.clock.advance(0.01)
        return ended


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_nothing_has_changed(watched: Watched) -> None:
    assert watched.does(watched.constancy.check()) == [None]
    watched.clock.pump([POLL_SECONDS, 0.01] * 3)
    assert watched.alarms == []


def test_it_is_told_at_once_when_qemu_tells(watched: Watched) -> None:
    watched.qemu.plugged["d1"] = "virtio-blk-pci"
    watched.qemu.heard("DEVICE_DELETED", {"path": "/machine/peripheral/d7"})
    watched.clock.advance(0.01)
    [told] = watched.alarms
    assert told.startswith("web1 at the source: the machine has changed since its migration began: device d1 (virtio-blk-pci) was added; ")


def test_it_is_told_soon_when_qemu_does_not(watched: Watched) -> None:
    watched.qemu.plugged["d1"] = "virtio-blk-pci"
    watched.clock.pump([POLL_SECONDS, 0.01])
    assert len(watched.alarms) == 1


def test_who_looks_is_told(watched: Watched) -> None:
    watched.qemu.plugged |= {f"d{number}": "e1000" for number in range(MAX_TOLD + 1)}
    [failure] = watched.does(watched.constancy.check())
    assert isinstance(getattr(failure, "value", None), NotMigratable)
    assert "; and more; " in str(getattr(failure, "value", ""))
    assert watched.alarms == []


def test_a_qemu_that_cannot_be_asked_is_an_alarm(watched: Watched) -> None:
    watched.qemu.hangs.add("query-block")
    watched.clock.pump([POLL_SECONDS, 61.0])
    assert len(watched.alarms) == 1
    assert "QEMU has not answered query-block for 60 s" in watched.alarms[0]


def test_after_the_end_nobody_is_told(watched: Watched) -> None:
    watched.constancy.end()
    watched.qemu.plugged["d1"] = "virtio-blk-pci"
    watched.qemu.heard("DEVICE_DELETED", {})
    watched.clock.pump([POLL_SECONDS, 0.01])
    assert watched.does(watched.constancy.check()) == [None]
    assert watched.alarms == []
    assert watched.clock.getDelayedCalls() == []


def test_one_that_rests_asks_nothing_by_itself_and_still_answers(watched: Watched) -> None:
    watched.constancy.rest()
    watched.qemu.plugged["d1"] = "virtio-blk-pci"
    watched.clock.pump([POLL_SECONDS, 0.01] * 3)
    assert watched.alarms == []
    [failure] = watched.does(watched.constancy.check())
    assert isinstance(getattr(failure, "value", None), NotMigratable)
