from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed, MonitorLost
from nbdtun.migration.vm.machine import Machine, announce, machine, run_state
from tests.migration.stage.paper import Sheet
from tests.migration.stage.paper_qemu import PaperQemu

HERE = Machine("pc-q35-7.2-machine", 1 << 27)


def test_machines_that_are_alike() -> None:
    assert list(HERE.differences(HERE)) == []
    assert list(HERE.differences(Machine("", 1 << 27))) == []  # a QEMU that does not tell


def test_machines_that_differ() -> None:
    kind, memory = HERE.differences(Machine("pc-q35-10.0-machine", 1024))
    assert str(kind) == (
        "the machine is pc-q35-10.0 at the source and pc-q35-7.2 at the destination; start the destination with -machine pc-q35-10.0"
    )
    assert str(memory) == "the VM has 1 KiB of RAM at the source and 128 MiB at the destination; start the destination with the same -m"
    assert "has 134225920 bytes of RAM at the source and 134217728 bytes at" in str(*HERE.differences(Machine(HERE.kind, (1 << 27) + 8192)))


@pytest_twisted.ensureDeferred
async def test_qemu_is_asked() -> None:
    sheet = Sheet(Clock(), {"query-memory-size-summary": {"base-memory": 5}, "qom-get": "pc-machine", "query-status": {"status": "paused"}})
    assert await machine(sheet) == Machine("pc-machine", 5)
    assert await run_state(sheet) == "paused"
    sheet.answers["qom-get"] = CommandFailed("no")
    assert await machine(sheet) == Machine("", 5)


def announcing(qemu: PaperQemu) -> list[None]:
    done: list[None] = []
    Deferred.fromCoroutine(qemu.connect())
    Deferred.fromCoroutine(announce(qemu)).addCallback(done.append)
    qemu.clock.pump([0.001] * 3)
    return done


def test_its_qemu_is_asked_to() -> None:
    qemu = PaperQemu(Clock(), "web1")
    assert announcing(qemu) == [None]
    assert qemu.announced == ["running"]


def test_a_qemu_that_cannot_is_not_asked() -> None:
    qemu = PaperQemu(Clock(), "web1")
    qemu.lacks.add("announce-self")
    assert announcing(qemu) == [None]
    assert qemu.asked == []


@pytest.mark.parametrize("error", [CommandFailed("web1: no"), MonitorLost("web1: QEMU has ended")])
def test_a_failure_is_a_warning(error: Exception, said: list[str]) -> None:
    qemu = PaperQemu(Clock(), "web1")
    qemu.fails["announce-self"] = error
    assert announcing(qemu) == [None]
    assert said == [f"web1: not announced to its network: {error}"]
