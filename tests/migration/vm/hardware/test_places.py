"""A device's key says where its guest finds it, and no number of QEMU's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbdtun.migration.vm.hardware.model import Device, Scalar
from nbdtun.migration.vm.hardware.places import Found, Places, natural
from nbdtun.migration.vm.hardware.walk import Node

PCI = "/machine/q35/pcie.0"
DEVICE = {"parent_bus": "link<bus>"}
Row = tuple[str, str, str, dict[str, Scalar]]


def keys(*rows: Row, buses: dict[str, str]) -> dict[str, str]:
    """The place of each device, by its path; a row is its path, its type, the path of its bus, and what it says of itself."""
    found = {path: Found(Node(path, kind, DEVICE | dict.fromkeys(told, "")), told | {"parent_bus": bus}) for path, kind, bus, told in rows}
    nodes = {path: Node(path, kind) for path, kind in buses.items()} | {path: each.node for path, each in found.items()}
    places = Places(nodes, found)
    return {path: Device(places.key(path), each.node.kind).place for path, each in found.items()}


HOST: Row = ("/machine/q35", "q35-pcihost", "/machine/unattached/sysbus", {})
BUSES = {"/machine/unattached/sysbus": "System", PCI: "PCIE"}


def test_behind_a_bridge_and_on_every_kind_of_bus() -> None:
    scsi, isa, ahci = "/machine/peripheral/s/virtio-backend", "/machine/unattached/device[9]", "/machine/unattached/device[17]"
    got = keys(
        HOST,
        ("/machine/peripheral/rp", "pcie-root-port", PCI, {"legacy-addr": "05.0"}),
        ("/machine/peripheral/s", "virtio-scsi-pci", "/machine/peripheral/rp/rp", {"legacy-addr": "00.0"}),
        (scsi, "virtio-scsi-device", "/machine/peripheral/s/virtio-bus", {}),
        ("/machine/peripheral-anon/device[0]", "scsi-hd", f"{scsi}/s.0", {"scsi-id": 3, "channel": 0, "lun": 1}),
        (isa, "ICH9-LPC", PCI, {"legacy-addr": "1f.0"}),
        ("/machine/unattached/device[12]", "isa-serial", f"{isa}/isa.0", {"iobase": 1016}),
        (ahci, "ich9-ahci", PCI, {"legacy-addr": "1f.2"}),
        ("/machine/unattached/device[20]", "ide-hd", f"{ahci}/ide.1", {"unit": 0}),
        ("/machine/peripheral/dimm", "pc-dimm", "", {"addr": 1 << 32}),
        buses=BUSES
        | {"/machine/peripheral/rp/rp": "PCIE", "/machine/peripheral/s/virtio-bus": "virtio-pci-bus", f"{scsi}/s.0": "SCSI"}
        | {f"{isa}/isa.0": "ISA", f"{ahci}/ide.0": "IDE", f"{ahci}/ide.1": "IDE"},
    )
    assert list(got.values()) == [
        *("q35-pcihost~0", "pci:05.0", "pci:05.0/pci:00.0", "pci:05.0/pci:00.0", "pci:05.0/pci:00.0/scsi:0:3:1"),
        *("pci:1f.0", "pci:1f.0/isa:0x3f8", "pci:1f.2", "pci:1f.2/ide:1.0", "memory:0x100000000"),
    ]


@given(st.permutations(range(12)))
def test_the_numbers_of_qemu_do_not_count(numbers: list[int]) -> None:
    rows: list[Row] = [
        (f"/machine/unattached/device[{number}]", "e1000", PCI, {"legacy-addr": f"{slot:02x}.0"}) for slot, number in enumerate(numbers)
    ]
    got = keys(HOST, *rows, buses=BUSES)
    assert [got[path] for path, *_ in rows] == [f"pci:{slot:02x}.0" for slot in range(12)]


def test_what_has_no_address_is_counted() -> None:
    rows: list[Row] = [(f"/machine/peripheral-anon/device[{n}]", "usb-kbd", "/machine/peripheral/u/usb.0", {"port": ""}) for n in (10, 9)]
    got = keys(HOST, ("/machine/peripheral/u", "qemu-xhci", PCI, {"legacy-addr": "03.0"}), *rows, buses=BUSES)
    assert [got[path] for path, *_ in rows] == ["pci:03.0/usb-kbd~1", "pci:03.0/usb-kbd~0"]
    assert Device("board/x~0/pci:03.0/usb-kbd~1", "usb-kbd").counted
    assert not Device("board/x~0/pci:03.0", "usb-kbd").counted


def test_a_ring_of_buses_ends() -> None:
    assert keys(("/a", "x", "/b/bus", {}), ("/b", "x", "/a/bus", {}), buses={"/a/bus": "PCI", "/b/bus": "PCI"})


def test_two_comes_before_ten() -> None:
    assert sorted(["device[10]", "device[2]"], key=natural) == ["device[2]", "device[10]"]
