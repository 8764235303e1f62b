from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.departure import depart
from nbdtun.migration.settings import MigrationSettings
from tests.migration.stage.paper_qemu import PaperQemu

CLEAR = [
    "ok capabilities: QEMU at the source has no conflicting migration capability on",
    "ok jobs: no job, export or dump is in the way at the source",
    "ok images: the images have no snapshots or bitmaps",
]


def check(qemu: PaperQemu, **settings: Any) -> tuple[Any, list[str]]:
    checklist = Checklist()
    got: list[Any] = []
    Deferred.fromCoroutine(qemu.connect())
    looking = Deferred.fromCoroutine(depart(checklist, qemu, MigrationSettings(vm="web1", **settings)))
    looking.addCallbacks(got.append, lambda failure: got.append(failure.value))
    qemu.clock.pump([0.001] * 50)
    return got[0], [f"{one.level.value} {one.check}: {one}" for one in checklist.findings]


def test_a_machine_that_can_go() -> None:
    departure, lines = check(PaperQemu(Clock(), "web1"))
    assert (departure.machine.type, departure.runs, [disk.node for disk in departure.disks]) == ("pc-q35-7.2", True, ["vda"])
    assert lines == [
        "ok source: QEMU 7.2.22, machine pc-q35-7.2, 128 MiB of RAM",
        "ok state: the guest is running",
        "ok blockers: no migration blockers",
        "ok disks: to be copied: vda (1 MiB of 1 MiB)",
        *CLEAR,
    ]


def test_all_that_is_amiss_is_told() -> None:
    qemu = PaperQemu(Clock(), "web1", state="guest-panicked")
    qemu.blockers = ["one", "feature in device 'two'", "Live migration disabled: dump-guest-memory in progress"]
    qemu.lacks = {"yank", "migrate-continue"}
    departure, lines = check(qemu, disks=("vdz",))
    assert (departure.runs, departure.disks) == (False, ())
    assert lines == [
        "failure source: web1: QEMU 7.2.22 does not support migrate-continue, yank; use QEMU 7.2 or later",
        "failure state: web1 cannot be migrated: the guest has crashed",
        "failure blockers: web1 cannot be migrated: one; end what QEMU names",
        "failure blockers: web1 cannot be migrated: feature in device 'two'; unplug that device",
        "failure disks: web1 has no disk vdz; it has vda",
        *CLEAR,
    ]


def test_memory_that_qemu_itself_may_lose() -> None:
    qemu = PaperQemu(Clock(), "web1")
    qemu.more, qemu.kvm = {"query-kvm"}, False
    warning = (
        "warning memory: QEMU 7.2.22 without KVM may lose memory writes that the guest makes during a migration; "
        "use KVM, or QEMU 9.0 or later, or pause the guest before the migration"
    )
    assert warning in check(qemu)[1]
    qemu.state = "paused"
    assert not any("memory" in line for line in check(qemu)[1][1:])


def test_a_machine_without_disks_that_is_paused() -> None:
    departure, lines = check(PaperQemu(Clock(), "web1", disks={}, state="paused"))
    assert not departure.runs
    assert "ok state: the guest is paused, and stays paused at the destination" in lines
    assert "ok disks: to be copied: no disk" in lines


def test_it_asks_and_does_nothing() -> None:
    qemu = PaperQemu(Clock(), "web1")
    check(qemu)
    assert all(command.startswith(("query-", "x-query-")) or command in ("qom-get", "qom-list") for command in qemu.asked)
