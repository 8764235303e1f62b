"""What a machine is, as far as it must not change: compared with itself."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.vm.outline import Outline, outline
from tests.migration.stage.paper import Sheet

CD = {"device": "", "qdev": "cd0", "inserted": {"node-name": "iso", "ro": True, "file": "/iso", "image": {"virtual-size": 4096}}}
DISK = {
    "device": "",
    "qdev": "/machine/peripheral/d0/virtio-backend",
    "inserted": {"node-name": "vda", "ro": False, "file": "/a", "image": {"virtual-size": 8192}},
}
CHILD = {"name": "d0", "type": "child<virtio-blk-pci>"}


def machine(**changed: Any) -> Outline:
    children = {"/machine/peripheral": [{"name": "type", "type": "string"}, CHILD], "/machine/peripheral-anon": []}
    answers = {
        "qom-list": lambda path: {**children, **changed.get("children", {})}[path],
        "query-block": changed.get("drives", [DISK, CD]),
        "query-memory-devices": changed.get("memory", []),
        "query-cpus-fast": [{}] * changed.get("processors", 2),
    }
    got: list[Outline] = []
    Deferred.fromCoroutine(outline(Sheet(Clock(), answers))).addCallback(got.append)
    return got[0]


def inserted(drive: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {**drive, "inserted": {**drive["inserted"], **changed}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"children": {"/machine/peripheral": []}}, ["device d0 (virtio-blk-pci) was removed"]),
        (
            {"children": {"/machine/peripheral": [{"name": "d0", "type": "child<virtio-net-pci>"}]}},
            ["device d0 was virtio-blk-pci and is virtio-net-pci"],
        ),
        (
            {"children": {"/machine/peripheral-anon": [{"name": "device[0]", "type": "child<e1000>"}]}},
            ["nameless device device[0] (e1000) was added"],
        ),
        ({"drives": [DISK, {"device": "", "qdev": "cd0"}]}, ["drive cd0 was read-only, 4096 bytes, /iso and is empty"]),
        (
            {"drives": [DISK, inserted(CD, file="/other")]},
            ["drive cd0 was read-only, 4096 bytes, /iso and is read-only, 4096 bytes, /other"],
        ),
        (
            {"drives": [inserted(DISK, image={"virtual-size": 9216}), CD]},
            ["drive d0 was writable, 8192 bytes, /a and is writable, 9216 bytes, /a"],
        ),
        ({"drives": [DISK]}, ["drive cd0 (read-only, 4096 bytes, /iso) was removed"]),
        ({"processors": 4}, ["the number of processors was 2 and is 4"]),
        ({"memory": [{"type": "dimm", "data": {"id": "m1", "size": 1024}}]}, ["memory device m1 (dimm, 1024 bytes) was added"]),
    ],
)
def test_what_has_changed_is_named(changed: dict[str, Any], told: list[str]) -> None:
    assert list(machine().changes(machine(**changed))) == told


def test_how_much_of_a_virtio_mem_device_is_used_is_the_guests_affair() -> None:
    before, after = (machine(memory=[{"type": "virtio-mem", "data": {"id": "m1", "size": size}}]) for size in (0, 1 << 30))
    assert list(before.changes(after)) == []


def test_a_tray_that_the_guest_opens_goes_with_it() -> None:
    assert list(machine().changes(machine(drives=[DISK, {**CD, "tray_open": True}]))) == []
