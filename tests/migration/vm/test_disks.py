from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from nbdtun.errors import ConfigError
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
        "iso is not copied: it is read-only",
        "cd2 is not copied: it is empty",
        "idle is not copied: no guest device uses it",
        "pflash0 is not copied: QEMU's own migration copies it",
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
    with pytest.raises(ConfigError, match="web1 has no disk sda; it has no writable disk"):
        Inventory(()).select(["sda"], "web1")
    with pytest.raises(ConfigError, match="web1: disk cd cannot be copied: it is read-only"):
        (await look(drive("iso", device="cd", qdev="cd", ro=True))).select(["cd"], "web1")
