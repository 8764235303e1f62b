"""One session by itself; whole migrations are in source/test_migration."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import (
    CommandFailed,
    DestinationFailed,
    DiskMismatch,
    MemoryFailed,
    MonitorError,
    MonitorLost,
    NotMigratable,
    OutcomeUnknown,
)
from nbdtun.migration.destination.life import State
from nbdtun.migration.ids import nbd_target, ram_target
from nbdtun.migration.vm.bitmaps import Awaited, Passenger
from nbdtun.migration.vm.disks import Disk
from tests.migration.stage.machines import wanted
from tests.migration.stage.room import VDA, Room, prepared, ready
from tests.migration.stage.talk import SESSION


def test_it_goes_its_way() -> None:
    room = Room()
    assert room.prepare() == nbd_target(SESSION)
    assert room.qemu.exports == {"nbdtun-0123456789abcdef-0"}
    assert not room.qemu.migration  # a failure up to here leaves the QEMU as it was
    assert room.listen() == ram_target(SESSION)
    assert room.admitted == {nbd_target(SESSION): "/run/egress/nbd.sock", ram_target(SESSION): "/run/egress/ram.sock"}
    room.qemu.arrived()
    assert room.do(room.session.finish(True)) is None
    assert room.qemu.state == "running"
    assert room.is_clean()
    assert room.qemu.announced == ["running"]
    assert repr(room.session) == "<Session 01234567 of web1 at the destination finished>"
    assert room.session.cleaned_up.called


BITMAPS = (Passenger(0, "b0", True), Passenger(0, "m0", False))
MAPPED = [
    {"node-name": "vda", "alias": "nbdtun-0123456789abcdef-0", "bitmaps": [{"name": name, "alias": name} for name in ("b0", "m0")]},
]


def with_bitmaps(driver: str = "qcow2") -> tuple[Room, Any]:
    room = Room()
    room.qemu.driver = driver
    room.prepare()
    return room, room.do(room.session.listen(BITMAPS))


def test_the_memory_is_waited_for_over_several_connections_and_nothing_of_that_is_left() -> None:
    room = prepared()
    assert room.do(room.session.listen((), 3)) == Awaited(ram_target(SESSION), (), 3)
    assert (room.qemu.capabilities["multifd"], room.qemu.parameters["multifd-channels"]) == (True, 3)
    assert '"multifd": false' in room.qemu.objects["nbdtun-journal"]
    room.qemu.arrived()
    assert room.do(room.session.finish(True)) is None
    assert room.qemu.parameters["multifd-channels"] == 2
    assert room.is_clean()


def test_a_qemu_that_cannot_takes_its_memory_over_one_connection() -> None:
    room = prepared()
    del room.qemu.capabilities["multifd"]
    assert room.do(room.session.listen((), 3)) == Awaited(ram_target(SESSION))


def test_bitmaps_are_waited_for_and_nothing_of_that_is_left() -> None:
    room, answer = with_bitmaps()
    assert answer == Awaited(ram_target(SESSION), BITMAPS)
    assert room.qemu.parameters["block-bitmap-mapping"] == MAPPED
    assert room.qemu.capabilities["dirty-bitmaps"]
    assert '"dirty-bitmaps": false' in room.qemu.objects["nbdtun-journal"]  # for the one that comes after a kill
    room.qemu.arrived()
    assert room.do(room.session.finish(True)) is None
    assert room.qemu.parameters["block-bitmap-mapping"] == []
    assert room.is_clean()


def test_a_bitmap_that_cannot_be_stored_here_costs_no_qemu() -> None:
    room, error = with_bitmaps("raw")
    assert isinstance(error, NotMigratable)
    assert "its persistent bitmaps would stay behind: b0; the destination's image is raw" in str(error)
    assert "migrate-incoming" not in room.qemu.asked
    assert room.qemu.alive
    assert room.is_clean()


def test_without_run_it_stays_paused() -> None:
    room = ready()
    room.qemu.arrived()
    assert room.do(room.session.finish(False)) is None
    assert (room.qemu.state, room.qemu.announced) == ("paused", [])


def test_a_disk_that_does_not_fit() -> None:
    room = Room()
    assert isinstance(room.prepare(Disk("x", "", "vda-dev", 1 << 21)), DiskMismatch)
    assert room.session.state is State.ABORTED
    assert "nbd-server-start" not in room.qemu.asked


@pytest.mark.parametrize("step", ["prepare", "listen", "finish"])
def test_a_step_out_of_turn_is_refused(step: str) -> None:
    room = Room()
    room.prepare()
    if step == "listen":
        room.listen()
    work: Any = {
        "prepare": lambda: room.session.prepare(wanted()),
        "listen": room.session.listen,
        "finish": lambda: room.session.finish(True),
    }[step]
    error = room.do(work())
    assert isinstance(error, NotMigratable)
    assert f"this session is {room.session.state.value}" in str(error)
    assert room.session.state is (State.LISTENING if step == "listen" else State.PREPARED)


def test_an_abort_before_the_memory_leaves_the_qemu_for_another_try() -> None:
    room = Room()
    room.prepare()
    assert room.do(room.session.abort("enough")) is State.ABORTED
    assert room.is_clean()
    assert room.qemu.alive
    assert not room.qemu.migration
    assert room.do(room.session.abort("again")) is State.ABORTED
    assert room.session.reason == "enough"


@pytest.mark.parametrize("make", [prepared, ready])
def test_channels_end_before_qemu_is_told_to_do_anything(make: Callable[[], Room]) -> None:
    """A client that has stopped in the middle of a request holds it up, whatever that is."""
    room = make()
    asked = len(room.qemu.asked)
    room.do(room.session.abort("that is enough"))
    assert room.asked_then == asked
    assert room.admitted == {}
    assert len(room.qemu.asked) > asked


def test_an_abort_later_ends_it() -> None:
    room = ready()
    assert room.do(room.session.abort("enough")) is State.ABORTED
    assert not room.qemu.alive
    assert room.closed == 1


def test_an_abort_of_what_has_not_begun() -> None:
    room = Room()
    assert room.do(room.session.abort("enough")) is State.ABORTED
    assert isinstance(room.prepare(), NotMigratable)


@pytest.mark.parametrize("command", ["query-status", "nbd-server-start", "block-export-add", "query-block"])
def test_an_abort_interrupts_a_step_that_hangs(command: str) -> None:
    room = Room()
    room.qemu.hangs.add(command)
    preparing: list[Any] = []
    Deferred.fromCoroutine(room.session.prepare(wanted(VDA))).addErrback(lambda failure: preparing.append(failure.value))
    room.wait(0.5)
    assert not preparing
    assert room.do(room.session.abort("enough")) is State.ABORTED
    assert isinstance(preparing[0], DestinationFailed)
    assert "the session was ended: enough" in str(preparing[0])


def test_an_abort_waits_for_a_finish_that_was_quicker() -> None:
    room = ready()
    finishing: list[Any] = []
    Deferred.fromCoroutine(room.session.finish(True)).addCallback(finishing.append)
    aborting: list[Any] = []
    Deferred.fromCoroutine(room.session.abort("enough")).addCallback(aborting.append)
    room.wait(1)
    assert not aborting
    room.qemu.arrived()
    room.wait(1)
    assert finishing == [None]
    assert aborting == [State.FINISHED]


def test_memory_that_never_arrives() -> None:
    room = ready()
    finishing: list[Any] = []
    Deferred.fromCoroutine(room.session.finish(True)).addErrback(lambda failure: finishing.append(failure.value))
    room.wait(1)
    room.qemu.fall_short()
    room.wait(1)
    assert isinstance(finishing[0], MemoryFailed)
    assert room.session.state is State.ABORTED
    assert not room.qemu.alive


def test_a_guest_that_does_not_start_is_given_up() -> None:
    room = ready()
    room.qemu.arrived()
    room.qemu.fails["cont"] = CommandFailed("no lock")
    assert str(room.do(room.session.finish(True))) == "no lock"
    assert not room.qemu.alive
    assert room.session.state is State.ABORTED


@pytest.mark.parametrize("how", ["hang", "die"])
def test_a_guest_of_which_nobody_knows_whether_it_started(how: str) -> None:
    room = ready()
    room.qemu.arrived()
    if how == "hang":
        room.qemu.hangs.add("cont")
    else:
        room.qemu.fails["cont"] = MonitorLost("gone")
    error = room.do(room.session.finish(True), 61)
    assert isinstance(error, OutcomeUnknown)
    assert "the destination's QEMU had just been told to run it" in str(error)
    assert room.session.state is State.UNCERTAIN
    assert "quit" not in room.qemu.asked
    assert repr(room.qemu).endswith("closed>")  # whoever is to find out needs it
    assert room.closed == 1


def test_a_monitor_that_is_closed_when_qemu_is_told_to_run() -> None:
    room = ready()
    room.qemu.arrived()
    run = room.qemu.cont

    def closed() -> None:
        room.qemu.cont = run  # type: ignore[method-assign]
        room.qemu.lose("QEMU closed its monitor")
        raise MonitorLost("QEMU closed its monitor")

    room.qemu.cont = closed  # type: ignore[method-assign]
    assert room.do(room.session.finish(True)) is None
    assert room.session.state is State.FINISHED
    assert room.qemu.state == "running"


def test_one_that_crashes_at_once_when_its_monitor_is_closed_has_run() -> None:
    """QEMU refuses to let it go on; the source must not go on in its place."""
    room = ready()
    room.qemu.arrived()

    def crashed() -> None:
        room.qemu.fails["cont"] = CommandFailed("Resetting the Virtual Machine is required")
        room.qemu.state = "guest-panicked"
        room.qemu.lose("QEMU closed its monitor")
        raise MonitorLost("QEMU closed its monitor")

    room.qemu.cont = crashed  # type: ignore[method-assign]
    assert room.do(room.session.finish(True, 2.0)) is None
    room.wait(3)
    assert room.session.state is State.FINISHED
    assert room.session.fate.lost == "the guest has crashed"
    assert room.qemu.alive


def test_another_qemu_in_its_place_is_not_told_to_run() -> None:
    """It dies of cont, and its supervisor starts it again; one that waits for a migration obeys cont, later."""
    room = ready()
    room.qemu.arrived()

    def died() -> None:
        room.qemu.cont = lambda: None  # type: ignore[method-assign]
        room.qemu.state, room.qemu.pid = "inmigrate", os.getpid()
        room.qemu.lose("QEMU closed its monitor")
        raise MonitorLost("QEMU closed its monitor")

    room.qemu.cont = died  # type: ignore[method-assign]
    assert isinstance(room.do(room.session.finish(True)), OutcomeUnknown)
    assert room.session.state is State.UNCERTAIN
    assert room.qemu.asked.count("cont") == 1


def test_a_qemu_that_dies_is_told_and_undone() -> None:
    room = Room()
    room.prepare()
    room.qemu.die()
    room.wait(0.5)
    assert isinstance(room.told[0], MonitorLost)
    assert room.session.state is State.ABORTED
    assert room.closed == 1


def test_a_qemu_that_hangs_is_noticed() -> None:
    room = Room()
    room.prepare()
    room.qemu.hangs.add("query-migrate")
    room.wait(66)
    assert isinstance(room.told[0], MonitorError)
    assert room.session.state is State.ABORTED


def test_an_incoming_migration_that_fails_is_noticed_and_explained() -> None:
    room = ready()
    room.qemu.migration = {"status": "failed", "error-desc": "load of migration failed: Invalid argument"}
    diagnosed = room.do(room.session.diagnose())
    assert diagnosed == "load of migration failed: Invalid argument"
    room.wait(6)
    assert str(room.told[0]) == "web1 at the destination: load of migration failed: Invalid argument"
    assert room.session.state is State.ABORTED


def test_there_is_nothing_to_diagnose_when_all_is_well() -> None:
    room = ready()
    assert room.do(room.session.diagnose()) == ""
    room.qemu.hangs.add("query-migrate")
    assert room.do(room.session.diagnose(), 61) == ""
