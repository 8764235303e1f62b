"""Disks of an iothread, at a destination whose QEMU would end when their copies have arrived."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed
from nbdtun.migration.check.iothreads import lost
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.hardware.model import Device, Hardware
from nbdtun.migration.vm.machine import Machine
from tests.migration.stage.paper import Sheet

PERIPHERAL = "/machine/peripheral"
THREADED, PLAIN = f"{PERIPHERAL}/s", f"{PERIPHERAL}/t"
MACHINE = Hardware(
    Machine("q35", 1),
    devices=(
        Device("board/pci:03.0", "virtio-scsi-pci", "s", path=THREADED),
        Device("board/pci:03.0/virtio", "virtio-scsi-device", "s", path=f"{THREADED}/virtio-backend"),
        Device("board/pci:03.0/virtio/scsi:0:0:0", "scsi-hd", "a", path=f"{PERIPHERAL}/a"),
        Device("board/pci:03.1", "virtio-scsi-pci", "t", path=PLAIN),
        Device("board/pci:03.1/virtio/scsi:0:0:0", "scsi-hd", "b", path=f"{PERIPHERAL}/b"),
        Device("board/pci:04.0", "virtio-blk-pci", "c", path=f"{PERIPHERAL}/c"),
    ),
)
DISKS = [Disk(name, "", name, 4096) for name in ("a", "b", "c", "unknown")]


def found(micro: tuple[int, int, int], threads: dict[str, str]) -> list[str]:
    def property_of(path: str, **_: Any) -> Any:
        return threads.get(path, "") if path in (THREADED, PLAIN) else CommandFailed("no such property")

    got: list[list[Disk]] = []
    release = {"qemu": dict(zip(("major", "minor", "micro"), micro, strict=True))}
    monitor = Sheet(Clock(), {"query-version": release, "qom-get": property_of})
    Deferred.fromCoroutine(lost(monitor, MACHINE, DISKS)).addCallback(got.append)
    return [disk.node for disk in got[0]]


@pytest.mark.parametrize(
    ("release", "threads", "disks"),
    [
        ((7, 2, 22), {THREADED: "/objects/t0"}, ["a"]),
        ((7, 2, 22), {}, []),
        ((7, 2, 22), {THREADED: "/objects/t0", PLAIN: "/objects/t0"}, ["a", "b"]),
        ((8, 0, 0), {THREADED: "/objects/t0"}, []),
        ((10, 0, 2), {THREADED: "/objects/t0"}, []),
    ],
)
def test_the_disks_of_a_controller_with_a_thread(release: tuple[int, int, int], threads: dict[str, str], disks: list[str]) -> None:
    """A virtio-blk disk gets to its thread later than its copy arrives."""
    assert found(release, threads) == disks
