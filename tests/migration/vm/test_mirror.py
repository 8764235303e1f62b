from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed, LinkLost, MirrorFailed
from nbdtun.migration.qmp.events import Event
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.mirror import Mirror, Mirrors, can_change_mode, discard, sweep, written_up_to
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.stage import PaperIngress

NAME = "nbdtun-0123456789abcdef-0"


class Desk:
    """One QEMU on paper, and a mirror of its disk."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.qemu = PaperQemu(self.clock, "web1")
        Deferred.fromCoroutine(self.qemu.connect())
        self.undo = UndoStack(self.clock, 30)
        self.alarms: list[Exception] = []
        self.ingress = PaperIngress(None, "nbd", "nbd")  # type: ignore[arg-type]
        disk = Disk("vda", "", "vda-dev", 1 << 20)
        self.mirror = Mirror(self.qemu, self.clock, disk, NAME, self.ingress, self.alarms.append)
        self.mirrors = Mirrors(self.qemu, [self.mirror])
        self.orders: list[tuple[str, dict[str, Any]]] = []

    def do(self, work: Any, seconds: float = 1.0) -> Any:
        """The result of ``work``, or its error."""
        got: list[Any] = []
        Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
        for _ in range(round(seconds / 0.005)):
            self.clock.advance(0.005)
        return got[0] if got else "waits"

    def start(self, speed: int = 0) -> Any:
        return self.do(self.mirrors.start(self.undo, MigrationSettings(vm="web1"), speed), 0.1)


def arguments(desk: Desk, command: str) -> Callable[[], dict[str, Any]]:
    found: dict[str, Any] = {}
    name = command.replace("-", "_")
    original = getattr(desk.qemu, name)

    def note(**given: Any) -> Any:
        found.update(given)
        return original(**given)

    setattr(desk.qemu, name, note)
    return lambda: found


def test_it_connects_and_copies() -> None:
    desk = Desk()
    node, job = arguments(desk, "blockdev-add"), arguments(desk, "blockdev-mirror")
    assert desk.start(1000) is None
    assert node() == {
        "driver": "nbd",
        "node_name": NAME,
        "server": {"type": "unix", "path": "/run/nbd.sock"},
        "export": NAME,
        "reconnect_delay": MigrationSettings(vm="web1").reconnect_delay,
        "discard": "unmap",
        "detect_zeroes": "unmap",
    }
    assert job() == {"job_id": NAME, "device": "vda", "target": NAME, "sync": "full", "speed": 1000}
    assert repr(desk.mirror) == f"<Mirror {NAME} of vda copying>"
    assert desk.do(desk.mirrors.ready(), 0.5) == "waits"
    assert desk.do(desk.mirrors.ready(), 1.5) == [None] or repr(desk.mirror).endswith("ready>")


def test_it_drains_and_leaves_nothing() -> None:
    desk = Desk()
    desk.start()
    desk.clock.pump([0.1] * 20)
    assert desk.do(desk.mirrors.drain(5)) is None
    assert repr(desk.mirror).endswith("done>")
    assert desk.qemu.nodes.keys() == {"vda", NAME}
    for _ in range(2):
        assert desk.do(desk.mirrors.remove()) is None
        assert desk.qemu.nodes.keys() == {"vda"}
    assert desk.qemu.asked.index("yank") < desk.qemu.asked.index("blockdev-del"), "else QEMU flushes, and waits for the line"
    assert desk.do(desk.undo.unwind()) == []
    assert desk.alarms == []


def test_its_speed_changes_while_it_runs() -> None:
    desk = Desk()
    desk.start(1000)
    for speed in (500, 500, 0):
        assert desk.do(desk.mirrors.set_speed(speed), 0.1) is None
        assert desk.qemu.jobs[NAME]["speed"] == speed
    assert desk.qemu.asked.count("block-job-set-speed") == 2
    desk.qemu.end_job(NAME)
    desk.alarms.clear()
    assert desk.do(desk.mirrors.set_speed(7), 0.1) is None


def test_the_guest_waits_from_the_beginning_or_from_later_on() -> None:
    desk = Desk()
    desk.mirror.write_blocking = True
    desk.start()
    assert desk.qemu.modes == {NAME: "write-blocking"}
    desk = Desk()
    desk.start()
    assert desk.qemu.modes == {NAME: "background"}
    assert desk.do(desk.mirror.block_writes(), 0.1) is None
    assert (desk.qemu.modes, desk.mirror.write_blocking) == ({NAME: "write-blocking"}, True)


def test_whether_it_can_be_changed_is_asked_of_qemu() -> None:
    desk = Desk()
    assert desk.do(can_change_mode(desk.qemu), 0.1) is False
    desk.qemu.more.add("block-job-change")
    assert desk.do(can_change_mode(desk.qemu), 0.1) is True


def test_how_far_ours_have_written() -> None:
    desk = Desk()
    desk.start()
    desk.qemu.reach = 7
    assert desk.do(written_up_to(desk.qemu, 5), 0.1) == 7  # and not the guest's own disk


@pytest.mark.parametrize("command", ["blockdev-add", "blockdev-mirror"])
def test_a_refusal_tells_what_the_tunnel_knows(command: str) -> None:
    desk = Desk()
    desk.qemu.fails[command] = CommandFailed("web1: QEMU refused it")
    desk.ingress.trouble = LinkLost("target nbd: unix:/x: No such file or directory")
    error = desk.start()
    assert isinstance(error, MirrorFailed)
    assert str(error) == "disk vda: web1: QEMU refused it; in the tunnel: target nbd: unix:/x: No such file or directory"
    desk.qemu.fails.clear()
    assert desk.do(desk.undo.unwind()) == []
    assert desk.qemu.nodes.keys() == {"vda"}


def test_a_job_that_fails_rings_the_alarm() -> None:
    desk = Desk()
    desk.start()
    desk.qemu.end_job(NAME, error="No space left on device")
    assert str(desk.alarms[0]) == "disk vda: No space left on device"
    assert repr(desk.mirror).endswith("failed>")


@pytest.mark.parametrize("event", ["BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"])
def test_a_job_that_somebody_else_ends_rings_the_alarm(event: str) -> None:
    desk = Desk()
    desk.start()
    desk.qemu.end_job(NAME, event)
    assert "ended by another tool" in str(desk.alarms[0])


def test_a_job_that_fails_as_the_guest_is_paused_is_drained_no_more() -> None:
    desk = Desk()
    desk.start()
    desk.clock.pump([0.1] * 20)
    desk.qemu.end_job(NAME, error="No space left on device")
    assert isinstance(desk.do(desk.mirror.drain(5)), CommandFailed | MirrorFailed)
    assert repr(desk.mirror).endswith("failed>")
    assert desk.do(desk.undo.unwind()) == []


def test_what_is_said_after_its_end_is_ignored() -> None:
    desk = Desk()
    desk.start()
    desk.clock.pump([0.1] * 20)
    assert desk.do(desk.mirrors.drain(5)) is None
    for event in ("BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"):
        desk.mirror.hear(Event(event, {"device": NAME}, 0.0))
    assert repr(desk.mirror).endswith("done>")
    assert desk.alarms == []


def test_jobs_of_others_are_none_of_ours() -> None:
    desk = Desk()
    desk.start()
    desk.qemu.heard("BLOCK_JOB_COMPLETED", {"device": "backup", "error": "no"})
    assert desk.alarms == []


@pytest.mark.parametrize("error", [None, "Input/output error"])
def test_last_writes_that_are_lost(error: str | None) -> None:
    desk = Desk()
    desk.start()
    desk.clock.pump([0.1] * 20)
    desk.qemu.block_job_cancel = lambda device, force: None  # type: ignore[method-assign]
    draining: list[Any] = []
    Deferred.fromCoroutine(desk.mirror.drain(5)).addErrback(lambda failure: draining.append(failure.value))
    desk.clock.pump([0.001] * 5)
    desk.qemu.end_job(NAME, "BLOCK_JOB_COMPLETED" if error else "BLOCK_JOB_CANCELLED", **({"error": error} if error else {}))
    desk.clock.pump([0.001] * 5)
    assert str(draining[0]) == "disk vda: its last writes were lost"
    assert isinstance(desk.alarms[0], MirrorFailed)


def test_last_writes_that_take_too_long() -> None:
    desk = Desk()
    desk.start()
    desk.clock.pump([0.1] * 20)
    desk.qemu.block_job_cancel = lambda device, force: None  # type: ignore[method-assign]
    assert str(desk.do(desk.mirrors.drain(3), 4)) == "disk vda: the last writes did not arrive within 3 s"


def test_it_is_given_up_wherever_it_is() -> None:
    desk = Desk()
    desk.start()
    assert desk.do(desk.undo.unwind()) == []
    assert desk.qemu.nodes.keys() == {"vda"}
    assert desk.qemu.asked.index("yank") < desk.qemu.asked.index("block-job-cancel") < desk.qemu.asked.index("blockdev-del")
    assert desk.alarms == []


def test_a_job_that_will_not_end_is_asked_again() -> None:
    desk = Desk()
    desk.start()
    asked: list[str] = []
    original = desk.qemu.block_job_cancel

    def reluctant(device: str, force: bool) -> Any:
        asked.append(device)
        return original(device, force) if len(asked) > 2 else None

    desk.qemu.block_job_cancel = reluctant  # type: ignore[method-assign]
    assert desk.do(discard(desk.qemu, desk.clock, NAME)) is None
    assert len(asked) == 3


def test_what_an_earlier_migration_left_is_swept() -> None:
    desk = Desk()
    desk.start()
    assert desk.do(sweep(desk.qemu, desk.clock)) == [NAME]
    assert desk.do(sweep(desk.qemu, desk.clock)) == []
    assert desk.qemu.nodes.keys() == {"vda"}
