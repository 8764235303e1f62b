from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.vm.requirements import RECEIVING, SENDING, require_commands
from tests.migration.stage.paper_qemu import PaperQemu


def test_what_it_must_know() -> None:
    qemu = PaperQemu(Clock(), "web1")
    Deferred.fromCoroutine(qemu.connect())
    assert Deferred.fromCoroutine(require_commands(qemu, SENDING | RECEIVING)).called
    qemu.lacks = {"block-export-add", "yank"}
    failed: list[BaseException | None] = []
    Deferred.fromCoroutine(require_commands(qemu, SENDING | RECEIVING)).addErrback(lambda failure: failed.append(failure.value))
    qemu.clock.advance(0.001)
    assert str(failed[0]) == "web1: QEMU 7.2.22 does not support block-export-add, yank; use QEMU 7.2 or later"
