"""A whole machine, as it is read from a QEMU of either release."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from nbdtun.errors import CommandFailed, MonitorLost
from nbdtun.migration.vm.hardware.compare import compare
from nbdtun.migration.vm.hardware.model import Block, Device, Hardware, Scalar
from nbdtun.migration.vm.hardware.read import MAX_TEXT, hardware, values
from nbdtun.migration.vm.machine import Machine
from tests.migration.vm.hardware.tree import DIMM, KBD, N0, XHCI, Tree, device

BOARD = "board/q35-pcihost~0"
NIC: dict[str, Scalar] = {"vectors": 4}
FEATURES: dict[str, Scalar] = {"mq": True, "mac": "52:54:00:00:00:01"}
DEVICES = (
    Device("board/memory:0x100000000", "pc-dimm", "dimm1", {"memdev": "/objects/m1", "slot": 0}, DIMM),
    Device(BOARD, "q35-pcihost", path="/machine/q35"),
    Device(f"{BOARD}/pci:00.0", "mch", path="/machine/q35/mch"),
    Device(f"{BOARD}/pci:03.0", "qemu-xhci", "u", path=XHCI),
    Device(f"{BOARD}/pci:03.0/usb-kbd~0", "usb-kbd", path=KBD),
    Device(f"{BOARD}/pci:05.0", "virtio-net-pci", "n0", NIC, N0),
    Device(f"{BOARD}/pci:05.0/virtio", "virtio-net-device", "n0", FEATURES, f"{N0}/virtio-backend"),
    Device(f"{BOARD}/pci:1f.0", "ICH9-LPC", path="/machine/unattached/device[4]"),
)
CPU: dict[str, Scalar] = {
    "type": "Nehalem-x86_64-cpu",
    "vendor": "GenuineIntel",
    "level": 11,
    "model-id": "Intel Core i7 9xx",
    "sse2": True,
    "aes": False,
    "sse4-1": True,
    "vmx": False,
}
HERE = Hardware(
    Machine("pc-q35-7.2-machine", 1 << 27),
    "7.2.22",
    "tcg",
    {"acpi": "on", "nvdimm": False, "max-ram-below-4g": 0, "slots": 2, "max-size": 1 << 30},
    CPU,
    ("core 0", "core 1 (empty)"),
    DEVICES,
    (Block("pc.ram", 1 << 27, 1 << 27),),
    ("QEMU USB Keyboard at port 1 of bus 0",),
)


def read(qemu: Tree) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(hardware(qemu)).addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got[0]


def test_a_whole_machine() -> None:
    found = read(Tree())
    assert found == HERE
    assert [device.path for device in found.devices] == [device.path for device in DEVICES]


def test_both_releases_tell_the_same_machine() -> None:
    """But for a feature that only one knows: numbers of QEMU's own, and the forms in which it tells a thing, do not count."""
    older, newer = read(Tree()), read(Tree(recent=True))
    newest = {**FEATURES, "in_order": False}
    features = tuple(evolve(each, facts=newest) if each.key.endswith("/virtio") else each for each in DEVICES)
    assert newer == evolve(HERE, version="10.0.2", devices=features)
    assert compare(older, newer) == compare(newer, older) == []


def test_it_asks_and_changes_nothing() -> None:
    qemu = Tree()
    read(qemu)
    assert {name for name in qemu.asked if "query" not in name} == {"qom-list", "qom-get", "human-monitor-command"}
    assert qemu.arguments["human-monitor-command"] == [{"command-line": "info usb"}]


def test_what_pci_passes_on_is_asked_of_the_device_itself() -> None:
    """``mac`` and ``mq`` of ``virtio-net-pci`` are second names of its backend's."""
    qemu = Tree()
    read(qemu)
    asked = {(each["path"], each["property"]) for each in qemu.arguments["qom-get"]}
    assert {name for path, name in asked if path == N0} == {"addr", "legacy-addr", "parent_bus", "vectors"}
    assert {name for path, name in asked if path == f"{N0}/virtio-backend"} == {"mac", "mq", "parent_bus"}
    assert len(asked) == len(qemu.arguments["qom-get"])


def test_without_usb_nobody_is_asked_for_ports() -> None:
    qemu = Tree()
    qemu.objects = {path: each for path, each in qemu.objects.items() if path not in (XHCI, f"{XHCI}/usb-bus.0", KBD)}
    assert read(qemu).usb == ()
    assert "human-monitor-command" not in qemu.asked


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("query-hotpluggable-cpus", evolve(HERE, processors=())),
        ("query-tpm", evolve(HERE, keepers=())),
        ("x-query-ramblock", evolve(HERE, blocks=())),
        ("query-kvm", evolve(HERE, accelerator="")),
        ("human-monitor-command", evolve(HERE, usb=())),
    ],
)
def test_what_a_qemu_does_not_tell_is_empty_and_no_failure(command: str, found: Hardware) -> None:
    """An ``x-`` command may go with any release; a machine type without CPU hot-plug refuses to list processors."""
    qemu = Tree()
    qemu.answers[command] = CommandFailed("web1: no")
    assert read(qemu) == found
    assert compare(found, HERE) == []


def test_a_qemu_that_is_gone_is_an_error_and_no_empty_machine() -> None:
    for command in ("query-tpm", "query-hotpluggable-cpus", "x-query-ramblock"):
        qemu = Tree()
        qemu.answers[command] = MonitorLost("web1: gone")
        assert isinstance(read(qemu), MonitorLost)


def test_of_kvm_its_own_features_are_read() -> None:
    found = read(Tree(query_kvm={"enabled": True, "present": True}))
    assert found == evolve(HERE, accelerator="kvm", cpu={**CPU, "kvmclock": False})


def test_a_qemu_without_the_question_after_kvm() -> None:
    qemu = Tree()
    qemu.more = set()
    assert read(qemu) == evolve(HERE, accelerator="")
    assert "query-kvm" not in qemu.asked


def test_the_parts_of_a_feature_are_read_where_there_is_the_whole() -> None:
    qemu = Tree()
    qemu.objects["/machine/unattached/device[0]"][1]["vmx"] = ("bool", True)
    assert read(qemu).cpu == {**CPU, "vmx": True, "vmx-ept": True}


def test_a_machine_without_processors_that_can_be_looked_at() -> None:
    qemu = Tree()
    del qemu.objects["/machine/unattached/device[0]"], qemu.objects["/machine/unattached/device[0]/lapic"]
    assert read(qemu) == evolve(HERE, cpu={})


@pytest.mark.parametrize(
    ("props", "place"),
    [
        ({"core-id": 0}, "core 0"),
        ({"socket-id": 1, "die-id": 0, "core-id": 2, "thread-id": 1, "node-id": 0}, "socket 1 core 2 thread 1"),
        ({"socket-id": 1, "module-id": 0, "core-id": 2, "thread-id": 1}, "socket 1 core 2 thread 1"),  # as 10.0 tells it
        ({"core-id": "1"}, "core 0"),
        ({}, "core 0"),
    ],
)
def test_a_processors_place(props: dict[str, Any], place: str) -> None:
    found = read(Tree(query_hotpluggable_cpus=[{"props": props, "qom-path": "/x"}, {"props": props}]))
    assert found.processors == (place, f"{place} (empty)")


def test_ports_of_real_machines() -> None:
    """An id of the operator's is no part of it; the number behind the bus is QEMU's own, and given by the guest."""
    text = (
        "  Device 0.0, Port 1, Speed 480 Mb/s, Product QEMU USB Keyboard, ID: k\r\n"
        "  Device 1.3, Port 2.1, Speed 1.5 Mb/s, Product QEMU USB Tablet\r\n"
        "USB support not enabled\r\n"
    )
    assert read(Tree(human_monitor_command=text)).usb == (
        "QEMU USB Keyboard at port 1 of bus 0",
        "QEMU USB Tablet at port 2.1 of bus 1",
    )
    assert read(Tree(human_monitor_command={"nonsense": 1})).usb == ()


def test_a_tpms_backend() -> None:
    told = [{"id": "tpm0", "model": "tpm-tis", "options": {"type": "passthrough", "data": {"path": "/dev/tpm0"}}}]
    assert read(Tree(query_tpm=told)).keepers == ("passthrough",)


def test_a_device_that_a_device_is_made_of_is_not_one_of_its_own() -> None:
    """It has no bus, and lies below another; one that lies below none counts."""
    qemu = Tree()
    qemu.objects |= {f"{N0}/part": device("part", ""), "/machine/unattached/device[40]": device("loner", "")}
    assert [each.kind for each in read(qemu).devices if each not in DEVICES] == ["loner"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((value, value) for value in (True, False, 0, -1, (1 << 64) - 1, "", "x")),
        ("  QM00001  ", "QM00001"),
        ("a\x1b[2J\n", "a?[2J"),
        ("x" * 999, "x" * MAX_TEXT),
    ],
)
def test_a_value_is_bounded_and_printable(value: Any, told: Any) -> None:
    """A disk's serial is whatever somebody has written there."""
    assert of(value) == [{"p": told}]


@pytest.mark.parametrize("value", [None, 1.5, [], {"x": 1}, 1 << 64, -(1 << 64), CommandFailed("web1: no")])
def test_a_value_that_is_none_is_missing(value: Any) -> None:
    assert of(value) == [{}]


def of(value: Any) -> Any:
    got: list[Any] = []
    qemu = Tree(qom_get=value)
    Deferred.fromCoroutine(values(qemu, [("/x", ["p"])])).addCallback(got.append)
    return got[0]


def test_each_value_goes_to_the_object_that_was_asked() -> None:
    got: list[Any] = []
    answers = {("/a", "x"): 1, ("/a", "y"): None, ("/c", "x"): 3}
    qemu = Tree(qom_get=lambda path, property: answers[path, property])
    asking = values(qemu, [("/a", ["y", "x"]), ("/b", []), ("/c", {"x"})])
    Deferred.fromCoroutine(asking).addCallback(got.append)
    assert got == [[{"x": 1}, {}, {"x": 3}]]
