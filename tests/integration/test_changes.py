"""The machine changes while it is moved, at either end: the guest stays at the source, and the second try works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.crossing import Crossing
from lab.disks import MIB, Disk
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.qemu import Build, Qemu
from lab.qmp import QmpError
from tests.integration.outcome import arrived, stayed

SMALL = Plan(16 * MIB)
SLOW = ["--bandwidth", "2MiB"]  # the copying lasts for eight seconds
PORT = ["-device", "pcie-root-port,id=rp1,chassis=1"]
CD = [*PORT, "-device", "virtio-scsi-pci,id=scsi9", "-drive", "if=none,id=cd,media=cdrom,format=raw,readonly=on,file={iso}"]
Maker = Callable[..., Pair]


def plug_nic(vm: Qemu) -> None:
    vm.qmp("device_add", driver="e1000e", id="nic1", bus="rp1")


def plug_disk(vm: Qemu, disk: Disk) -> None:
    file = {"driver": "file", "filename": f"{disk.path}"}
    vm.qmp("blockdev-add", **{"driver": "raw", "node-name": "vdb", "discard": "unmap", "file": file})
    vm.qmp("device_add", driver="virtio-blk-pci", drive="vdb", id="vdb-dev", bus="rp1")
    vm._own_nodes = vm._nodes()


def eject(vm: Qemu) -> None:
    vm.qmp("human-monitor-command", **{"command-line": "eject -f cd"})


def plug_processor(vm: Qemu) -> None:
    free = next(cpu for cpu in vm.qmp("query-hotpluggable-cpus") if "qom-path" not in cpu)
    vm.qmp("device_add", driver=free["type"], id="cpu1", **free["props"])


CHANGES = {
    "a NIC": (plug_nic, "device nic1 (e1000e) was added"),
    "a processor": (plug_processor, "the number of processors was 1 and is 2; device cpu1 (Nehalem-x86_64-cpu) was added"),
    "a medium": (eject, "drive cd0 was read-only, 1048576 bytes, {iso} and is empty"),
}


@pytest.mark.parametrize(
    ("end", "what"),
    [("source", "a NIC"), ("destination", "a NIC"), ("destination", "a processor"), ("source", "a medium")],
)
def test_what_changes_at_one_end(pairs: Maker, crossings: Callable[..., Crossing], directory: Path, end: str, what: str) -> None:
    change, told = CHANGES[what]
    iso = Disk(directory / "cd.iso", MIB).make_empty()
    options = [word.format(iso=iso.path) for word in CD]
    crossing = crossings(pairs(SMALL, extra=[*options, "-device", "scsi-cd,drive=cd,id=cd0,bus=scsi9.0", "-smp", "1,maxcpus=2"]))
    pair = crossing.pair
    pair.source.wait_ticks(2)
    attempt = crossing.migrate(*SLOW)
    attempt.wait_phase("mirror")
    change(getattr(pair, end))
    assert attempt.wait_exit(30) == 1
    assert attempt.complaints()[-1] == (
        f"nbdtun: web1 at the {end}: the machine has changed since its migration began: {told.format(iso=iso.path)}; "
        "give both ends the same devices and media, then migrate again"
    )
    stayed(crossing)
    assert pair.destination.running()


@pytest.mark.parametrize("recent", [False, True])
def test_a_disk_at_both_ends_is_moved_at_the_second_try(
    pairs: Maker, crossings: Callable[..., Crossing], directory: Path, request: pytest.FixtureRequest, recent: bool
) -> None:
    builds: tuple[Build | None, Build | None] = (request.getfixturevalue("recent_qemu"),) * 2 if recent else (None, None)
    crossing = crossings(pairs(SMALL, extra=PORT, builds=builds))
    pair = crossing.pair
    pair.source.wait_ticks(2)
    new = Disk(directory / "new-a.raw", 4 * MIB).make(), Disk(directory / "new-b.raw", 4 * MIB).make_empty()
    first = crossing.migrate(*SLOW)
    first.wait_phase("mirror")
    for vm, disk in zip((pair.source, pair.destination), new, strict=True):
        plug_disk(vm, disk)
    assert first.wait_exit(30) == 1
    assert "device vdb-dev (virtio-blk-pci) was added" in first.complaints()[-1]
    stayed(crossing)
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)
    assert new[0].path.read_bytes() == new[1].path.read_bytes()


def test_after_the_memory_was_begun_the_destination_is_still_watched(pairs: Maker, crossings: Callable[..., Crossing]) -> None:
    """Its QEMU has used up its one chance then; the source refuses by itself what would be plugged in there."""
    pair = pairs(SMALL, extra=PORT)
    with Gate(pair.directory / "gate.qmp", pair.source.qmp_path, "migrate-continue") as gate:
        crossing = crossings(pair, qmp=(gate.path, pair.destination.qmp_path))
        pair.source.wait_ticks(2)
        attempt = crossing.migrate()
        gate.wait_held()
        with pytest.raises(QmpError, match="device_add not allowed while migrating"):
            plug_nic(pair.source)
        plug_nic(pair.destination)
        gate.open()
        assert attempt.wait_exit(60) == 1
    assert "web1 at the destination: the machine has changed since its migration began: device nic1 (e1000e) was added" in attempt.log()
    stayed(crossing)


def test_what_is_plugged_in_just_before_the_memory_is_sent_is_seen(
    pairs: Maker, crossings: Callable[..., Crossing], directory: Path
) -> None:
    """Between the last look and QEMU's own refusal there is no gap."""
    pair = pairs(SMALL, extra=PORT)
    with Gate(pair.directory / "gate.qmp", pair.source.qmp_path, "migrate") as gate:
        crossing = crossings(pair, qmp=(gate.path, pair.destination.qmp_path))
        pair.source.wait_ticks(2)
        attempt = crossing.migrate()
        gate.wait_held()
        plug_disk(pair.source, Disk(directory / "new.raw", MIB).make())
        gate.open()
        assert attempt.wait_exit(60) == 1
    assert "web1 at the source: the machine has changed since its migration began: device vdb-dev" in attempt.log()
    stayed(crossing)
