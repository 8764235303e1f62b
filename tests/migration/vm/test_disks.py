from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from nbdtun.errors import ConfigError, DiskMismatch
from nbdtun.migration.vm.disks import Disk, Inventory, inventory
from tests.migration.stage.paper import Sheet


def drive(node: str, *, device: str = "", qdev: str = "", size: int = 512, ro: bool = False, drv: str = "raw") -> dict[str, Any]:
    inserted = {"node-name": node, "ro": ro, "drv": drv, "image": {"virtual-size": size}}
    return {"device": device, "inserted": inserted} | ({"qdev": qdev} if qdev else {})


async def look(*drives: dict[str, Any], kinds: dict[str, str] | None = None) -> Inventory:
    def qom_get(path: str, property: str) -> str:
        return (kinds or {}).get(path, "virtio-blk-device")

    return await inventory(Sheet(Clock(), {"query-block": list(drives), "qom-get": qom_get}))


@pytest_twisted.ensureDeferred
async def test_the_disks_of_a_machine() -> None:
    found = await look(
        drive("vda", qdev="/machine/peripheral/vda/virtio-backend", size=1024, drv="qcow2"),
        drive("#block187", device="ide0-hd0", qdev="/machine/unattached/device[16]"),
    )
    assert found.disks == (
        Disk("vda", "", "/machine/peripheral/vda/virtio-backend", 1024, "qcow2"),
        Disk("#block187", "ide0-hd0", "/machine/unattached/device[16]", 512, "raw"),
    )
    assert [disk.nickname for disk in found.disks] == ["vda", "ide0-hd0"]


@pytest_twisted.ensureDeferred
async def test_what_is_left_out() -> None:
    found = await look(
        drive("iso", device="cd", qdev="cd", ro=True),
        {"device": "", "qdev": "cd2", "removable": True},
        drive("idle", device="spare"),
        drive("#block1", device="pflash0", qdev="/machine/system.flash0"),
        drive("vda", qdev="vda-dev"),
        drive("vda", qdev="vda-again"),
        kinds={"/machine/system.flash0": "cfi.pflash01"},
    )
    assert [disk.qdev for disk in found.disks] == ["vda-dev"]
    assert [str(left) for left in found.left_out] == [
        "iso is left out: it is read-only",
        "cd2 is left out: it is empty",
        "idle is left out: no device of the guest uses it",
        "pflash0 is left out: QEMU's own migration carries it",
    ]


VDA = Disk("vda", "", "/machine/peripheral/disk0/virtio-backend", 512)
HDA = Disk("#block187", "ide0-hd0", "/machine/unattached/device[16]", 512)
HERE = Inventory((VDA, HDA))


@pytest.mark.parametrize("name", ["vda", "disk0", "/machine/peripheral/disk0/virtio-backend"])
def test_a_disk_has_several_names(name: str) -> None:
    assert HERE.select([name], "web1") == (VDA,)


def test_all_disks_or_those_that_were_named() -> None:
    assert HERE.select(None, "web1") == (VDA, HDA)
    assert HERE.select(["ide0-hd0", "disk0", "#block187"], "web1") == (HDA, VDA)


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match="web1 has no disk sda; it has vda, ide0-hd0"):
        HERE.select(["sda"], "web1")
    with pytest.raises(ConfigError, match="web1 has no disk sda; it has none that is writable"):
        Inventory(()).select(["sda"], "web1")
    with pytest.raises(ConfigError, match="web1: disk cd cannot be copied: it is read-only"):
        (await look(drive("iso", device="cd", qdev="cd", ro=True))).select(["cd"], "web1")


def test_the_guests_device_decides_over_the_nodes_name() -> None:
    other = Inventory((Disk("vda", "", "vdb-dev", 512), Disk("vdb", "", "vda-dev", 512)))
    assert other.counterpart(Disk("vda", "", "vda-dev", 512)).node == "vdb"


def test_nameless_devices_are_matched_by_their_drive() -> None:
    other = Inventory(
        (Disk("#block9", "ide0-hd1", "/machine/unattached/device[16]", 1), Disk("#block2", "ide0-hd0", "/machine/unattached/device[13]", 2))
    )
    assert other.counterpart(HDA).node == "#block2"
    blockdev = Disk("a", "", "/machine/peripheral-anon/device[0]", 512)
    assert Inventory((Disk("b", "", "/machine/peripheral-anon/device[0]", 512),)).counterpart(blockdev).node == "b"


def test_a_named_device_is_not_mistaken_for_its_drive() -> None:
    other = Inventory((Disk("1", "d0", "b-dev", 512), Disk("2", "d1", "a-dev", 512)))
    assert other.counterpart(Disk("x", "d0", "a-dev", 512)).node == "2"


@pytest_twisted.ensureDeferred
async def test_a_disk_without_a_counterpart() -> None:
    other = await look(drive("sda", qdev="sda-dev"), drive("iso", qdev="vda-dev", ro=True))
    with pytest.raises(DiskMismatch) as caught:
        other.counterpart(Disk("vda", "d0", "vda-dev", 512))
    assert str(caught.value) == (
        "disk vda: the destination has no writable disk on device vda-dev or of drive id d0; "
        "it has sda (sda-dev); iso is left out: it is read-only"
    )
    with pytest.raises(DiskMismatch, match="it has no disks at all"):
        Inventory(()).counterpart(VDA)
