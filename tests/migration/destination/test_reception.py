"""What QEMU is set to before it waits for its memory: no more than it can take, and all of it is put back."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.destination.reception import Reception
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.memory import Tuning
from tests.migration.stage.paper_qemu import PaperQemu


class Room:
    def __init__(self) -> None:
        self.qemu = PaperQemu(Clock(), "web1", state="inmigrate")
        self.undo = UndoStack(self.qemu.clock, 1)
        self.reception = Reception(self.qemu, Tuning(self.qemu), self.undo, ())
        self.do(self.qemu.connect())

    def do(self, work: Any) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(got.append)
        self.qemu.clock.pump([0.01] * 20)
        return got[0]


def test_several_connections_and_back() -> None:
    room = Room()
    assert room.do(room.reception.spread(3)) == 3
    assert (room.qemu.capabilities["multifd"], room.qemu.parameters["multifd-channels"]) == (True, 3)
    assert room.do(room.undo.unwind()) == []
    assert (room.qemu.capabilities["multifd"], room.qemu.parameters["multifd-channels"]) == (False, 2)


def test_one_connection_sets_nothing() -> None:
    room = Room()
    assert room.do(room.reception.spread(0)) == 0
    assert room.qemu.asked == []


def test_a_qemu_that_cannot() -> None:
    room = Room()
    del room.qemu.capabilities["multifd"]
    assert room.do(room.reception.spread(3)) == 0


def test_no_bitmaps_set_nothing() -> None:
    room = Room()
    assert room.do(room.reception.expect(())) == ()
    assert room.qemu.asked == []
