"""What is known of one machine: what its devices are called, and what has changed of it since."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.migration.vm.hardware.model import Block, Device, Hardware
from nbdtun.migration.vm.machine import Machine
from tests.migration.vm.hardware.stage import BRIDGE, CPU, DISK, HERE, NIC, NIC_ITSELF, having, replaced, without


@pytest.mark.parametrize(
    ("key", "place", "counted"),
    [
        (f"{BRIDGE}/pci:05.0", "pci:05.0", False),
        (f"{BRIDGE}/pci:05.0/virtio", "pci:05.0", False),
        (f"{BRIDGE}/pci:05.0/virtio/scsi:0:3:1", "pci:05.0/scsi:0:3:1", False),
        (f"{BRIDGE}/pci:03.0/usb-kbd~1", "pci:03.0/usb-kbd~1", True),
        ("board/memory:0x100000000", "memory:0x100000000", False),
        (BRIDGE, "q35-pcihost~0", True),  # there is no more to tell of the board's own part
        ("board/a~0/b~1/pci:05.0", "pci:05.0", False),
        ("board/a~0/b~1", "b~1", True),
        ("board", "", False),
    ],
)
def test_a_place_begins_where_the_guest_can_tell_it_apart(key: str, place: str, counted: bool) -> None:
    device = Device(key, "x")
    assert (device.place, device.name, device.counted) == (place, place, counted)


def test_an_operator_calls_a_device_by_its_id() -> None:
    assert [(device.name, str(device)) for device in (NIC, NIC_ITSELF, DISK)] == [
        ("n0", "n0 (virtio-net-pci at pci:05.0)"),
        ("n0", "n0 (virtio-net at pci:05.0)"),
        ("pci:06.0", "virtio-blk-pci at pci:06.0"),
    ]


@pytest.mark.parametrize(
    ("block", "resizable"),
    [
        (Block("pc.ram", 1 << 27, 1 << 27), False),
        (Block("/rom@etc/acpi/tables", 1 << 17, 1 << 21), True),
        (Block("/rom@etc/table-loader", 1 << 16, 1 << 16), True),  # it has been made as large as it can be
        (Block("0000:00:05.0/virtio-net-pci.rom", 1 << 18, 1 << 18), False),
        (Block("m1", 1 << 20, 1 << 21), True),
    ],
)
def test_a_block_that_can_be_made_larger(block: Block, resizable: bool) -> None:
    assert block.resizable is resizable


def test_a_disks_device_is_found_as_query_block_calls_it() -> None:
    outer = evolve(NIC, path="/machine/peripheral/n0")
    inner = evolve(NIC_ITSELF, path="/machine/peripheral/n0/virtio-backend")
    nameless = evolve(DISK, path="/machine/unattached/device[16]")
    machine = evolve(HERE, devices=(outer, inner, nameless))
    assert machine.at("n0") is outer
    assert machine.at("/machine/peripheral/n0/virtio-backend") is inner
    assert machine.at("/machine/unattached/device[16]") is nameless
    assert machine.at("device[16]") is machine.at("n") is machine.at("/n0") is machine.at("") is None
    assert Hardware(HERE.machine).at("n0") is None


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (without(NIC, NIC_ITSELF), ["n0"]),  # both halves are one device
        (without(DISK), ["pci:06.0"]),
        (having(Device(f"{BRIDGE}/pci:07.0", "e1000", "n1")), ["n1"]),
        (replaced(NIC, vectors=3), ["n0"]),
        (replaced(NIC_ITSELF, mac="52:54:00:00:00:02"), ["n0"]),
        (replaced(NIC, kind="e1000"), ["n0"]),
        (replaced(NIC, ident="n1"), ["n0"]),  # as it was called before
        (replaced(DISK, key=f"{BRIDGE}/pci:07.0"), ["pci:06.0", "pci:07.0"]),
        (evolve(HERE, processors=("core 0", "core 1")), ["cpu"]),
        (evolve(HERE, processors=("core 0 (empty)",)), ["cpu"]),
        (evolve(HERE, blocks=()), ["pc.ram"]),
        (having(Device("board/memory:0x1", "pc-dimm", "dimm1"), blocks=(*HERE.blocks, Block("m1", 5, 5))), ["dimm1", "m1"]),
    ],
)
def test_what_has_changed_is_named_whichever_way_it_went(now: Hardware, names: list[str]) -> None:
    assert HERE.changes(now) == names
    back = [{"n0": "n1"}.get(name, name) for name in names] if now == replaced(NIC, ident="n1") else names
    assert now.changes(HERE) == back


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"blocks": (Block("pc.ram", 1 << 20, 1 << 27),)},  # the firmware has made a table larger, or QEMU prints another column
        {"devices": tuple(reversed(HERE.devices))},
        {"devices": tuple(evolve(device, path=f"/elsewhere/{device.key}") for device in HERE.devices)},
        {"cpu": {**CPU, "phys-bits": 46}, "version": "10.0.2", "accelerator": "kvm", "settings": {}},  # of a QEMU that runs, these stay
        {"machine": Machine("x", 1)},
    ],
)
def test_what_is_no_change(changed: dict[str, Any]) -> None:
    assert HERE.changes(evolve(HERE, **changed)) == []


KEYS = st.lists(st.sampled_from([f"{BRIDGE}/pci:{slot:02x}.0" for slot in range(4)]), unique=True)
DEVICES = KEYS.flatmap(
    lambda keys: st.tuples(*(st.builds(Device, st.just(key), st.sampled_from("ab"), st.sampled_from(["", "x", "y"])) for key in keys))
)


@given(DEVICES, DEVICES)
def test_no_change_is_missed_and_none_is_made_up(before: tuple[Device, ...], after: tuple[Device, ...]) -> None:
    one, other = (evolve(HERE, devices=devices) for devices in (before, after))
    changed = {device.key: device for device in before} != {device.key: device for device in after}
    assert bool(one.changes(other)) == bool(other.changes(one)) == changed
