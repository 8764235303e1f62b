"""The destination's QEMU: what is told of one that fits, and of all that does not."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed
from nbdtun.migration.check import arrival
from nbdtun.migration.check.arrival import arrive
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.vm.disks import WRITE_BACK, WRITE_THROUGH, Disk
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.machine import Machine
from tests.migration.stage.machines import wanted
from tests.migration.stage.paper_qemu import PaperQemu

THERE = Machine("pc-q35-7.2-machine", 1 << 27)
VDA = Disk("vda", "", "vda-dev", 1 << 20, "raw")
VDB = Disk("vdb", "", "vdb-dev", 1 << 20, "raw")


def check(qemu: PaperQemu, there: Machine = THERE, disks: tuple[Disk, ...] = (VDA,)) -> list[str]:
    """The findings; the hardware of a QEMU on paper is that of its machine alone."""
    checklist = Checklist()
    Deferred.fromCoroutine(qemu.connect())
    done: list[Any] = []
    Deferred.fromCoroutine(arrive(checklist, qemu, wanted(*disks, hardware=Hardware(there)))).addBoth(done.append)
    qemu.clock.pump([0.001] * 100)
    assert isinstance(done[0], tuple)
    return [f"{one.level.value} {one.check}: {one}" for one in checklist.findings]


def waiting(**disks: int) -> PaperQemu:
    return PaperQemu(Clock(), "web1", disks=disks or {"vda": 1 << 20}, state="inmigrate")


def test_one_that_fits() -> None:
    assert check(waiting()) == [
        "ok destination: QEMU 7.2.22 is waiting for a migration",
        "ok machine: both are pc-q35-7.2 with 128 MiB of RAM",
        "ok capabilities: QEMU at the destination has no conflicting migration capability on",
        "ok jobs: no job, export or dump is in the way at the destination",
        "ok disks: disk vda: raw, 1 MiB",
    ]


def test_what_may_differ_is_said() -> None:
    assert check(waiting(vda=3 << 20), disks=(evolve(VDA, format="qcow2"),))[-1] == (
        "ok disks: disk vda: qcow2 becomes raw, the first 1 MiB of 3 MiB are used"
    )


def test_a_type_that_is_not_told_is_not_compared() -> None:
    qemu = waiting()
    qemu.fails["qom-get"] = CommandFailed("web1: no such property")
    assert "ok machine: both have the same RAM" in check(qemu)


def test_all_that_does_not_fit_is_told_at_once() -> None:
    qemu = waiting(vda=1 << 19)
    qemu.state = "running"
    lines = check(qemu, Machine("pc-i440fx-7.2-machine", 1 << 28), (VDA, VDB))
    lines = [line for line in lines if line.startswith("failure")]
    assert [line.split(":")[0] for line in lines] == [
        "failure destination",
        "failure machine",
        "failure machine",
        "failure disks",
        "failure disks",
    ]
    assert "the machine is pc-i440fx-7.2 at the source and pc-q35-7.2 at the destination" in lines[1]
    assert "start the destination with the same -m" in lines[2]
    assert "disk vda: 512 KiB at the destination is too small for 1 MiB at the source; stop that QEMU and run " in lines[3]
    assert "`qemu-img resize IMAGE 1048576` there" in lines[3]
    assert "vdb" in lines[4]


def test_a_qemu_that_lacks_what_receiving_needs() -> None:
    qemu = waiting()
    qemu.lacks = {"nbd-server-start"}
    assert check(qemu)[0].startswith("failure destination: web1: QEMU 7.2.22 does not support nbd-server-start")


@pytest.mark.parametrize(("size", "sector", "told"), [((1 << 20) + 512, 4096, 1), ((1 << 20) + 512, 1, 0), (1 << 20, 4096, 0)])
def test_an_image_that_ends_within_a_sector(monkeypatch: pytest.MonkeyPatch, size: int, sector: int, told: int) -> None:
    async def sectors(monitor: object, disks: tuple[Disk, ...], graph: object) -> tuple[int, ...]:
        return (sector,) * len(disks)

    monkeypatch.setattr(arrival, "sectors", sectors)
    failures = [line for line in check(waiting(vda=size), disks=(evolve(VDA, size=size),)) if line.startswith("failure")]
    assert failures == told * [
        "failure disks: disk vda: the destination's image has 1049088 bytes, which is no multiple of its 4096-byte sectors; "
        "use a qcow2 image there, or a raw one without cache.direct or on 512-byte sectors"
    ]


@pytest.mark.parametrize(
    ("there", "here", "place", "warned"),
    [
        (WRITE_THROUGH, WRITE_BACK, "pci:05.0", True),
        (WRITE_THROUGH, WRITE_BACK, "pci:1f.2/ide:0.0", False),
        (WRITE_THROUGH, WRITE_THROUGH, "pci:05.0", False),
        (WRITE_BACK, WRITE_THROUGH, "pci:05.0", False),
        ("", WRITE_BACK, "pci:05.0", False),
    ],
)
def test_a_write_cache_that_the_guest_does_not_know_of(there: str, here: str, place: str, warned: bool) -> None:
    """It would not flush it. The stream of an IDE disk has the mode, and QEMU sets it again."""
    qemu = waiting()
    qemu.cache = here
    lines = [line for line in check(qemu, disks=(evolve(VDA, cache=there, place=place),)) if line.startswith("warning")]
    assert lines == warned * [
        "warning disks: disk vda: its write cache is off at the source and on at the destination, so its guest may lose writes if that "
        "host fails; use write-cache=off for the device there"
    ]


def test_it_asks_and_does_nothing() -> None:
    qemu = waiting()
    check(qemu)
    assert all(command.startswith(("query-", "x-query-", "x-debug-query-", "qom-get", "qom-list")) for command in qemu.asked)
