"""Devices compared by their places: what is missing, moved, exchanged or of another kind, each told once."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import NotMigratable
from nbdtun.migration.finding import Level
from nbdtun.migration.vm.hardware.devices import compare_devices
from nbdtun.migration.vm.hardware.model import Device, Hardware
from nbdtun.migration.vm.machine import Machine
from tests.migration.vm.hardware.stage import BRIDGE, DISK, HERE, NIC, NIC_ITSELF, having, lines, replaced, without

PORT = Device(f"{BRIDGE}/pci:08.0", "pcie-root-port", "rp")
BEHIND = Device(f"{PORT.key}/pci:00.0", "virtio-rng-pci", "rng")
BEHIND_ITSELF = Device(f"{BEHIND.key}/virtio", "virtio-rng-device", "rng")
KBD = Device(f"{BRIDGE}/usb-kbd~0", "usb-kbd")


def told(there: Hardware, here: Hardware) -> list[tuple[str, str, str]]:
    return lines(compare_devices(there, here)[0])


def at(device: Device, place: str, **changed: Any) -> Device:
    """The same elsewhere on the board's bus."""
    return evolve(device, key=f"{BRIDGE}/{place}", **changed)


@pytest.mark.parametrize(
    ("there", "here", "level", "what"),
    [
        (HERE, without(NIC, NIC_ITSELF), "failure", "n0 (virtio-net-pci at pci:05.0) is missing at the destination"),
        (HERE, without(DISK), "failure", "virtio-blk-pci at pci:06.0 is missing at the destination"),
        (without(DISK), HERE, "warning", "virtio-blk-pci at pci:06.0 exists only at the destination"),
        (HERE, replaced(DISK, key=f"{BRIDGE}/pci:07.0"), "failure", "virtio-blk-pci at pci:06.0 is at pci:07.0 at the destination"),
        (HERE, replaced(DISK, kind="e1000"), "failure", "virtio-blk-pci at pci:06.0 is e1000 at the destination"),
        (having(PORT), having(at(PORT, "pci:09.0")), "failure", "rp (pcie-root-port at pci:08.0) is at pci:09.0 at the destination"),
        # Another id is another device; and a place that is only a turn proves nothing, so no one has moved there.
        (having(PORT), having(at(PORT, "pci:09.0", ident="x")), "failure", "rp (pcie-root-port at pci:08.0) is missing at the destination"),
        (having(KBD), having(evolve(KBD, key=f"{BRIDGE}/usb-kbd~1")), "failure", "usb-kbd at usb-kbd~0 is missing at the destination"),
        (having(PORT, BEHIND, BEHIND_ITSELF), HERE, "failure", "rp (pcie-root-port at pci:08.0) is missing at the destination"),
        (having(PORT, BEHIND), having(PORT), "failure", "rng (virtio-rng-pci at pci:08.0/pci:00.0) is missing at the destination"),
        (HERE, having(PORT, BEHIND, BEHIND_ITSELF), "warning", "rp (pcie-root-port at pci:08.0) exists only at the destination"),
    ],
)
def test_one_difference(there: Hardware, here: Hardware, level: str, what: str) -> None:
    found = [(one[0], one[2]) for one in told(there, here)]
    assert found[0] == (level, what)
    assert [one for one in found[1:] if one[0] == "failure"] == []


def test_a_failure_names_what_may_be_allowed() -> None:
    (found,), missing = compare_devices(HERE, without(DISK))
    assert (found.check, found.name, found.code) == ("devices", "pci:06.0", NotMigratable.code)
    assert found.remedy == "start the destination with the same -device, at the same address"
    assert missing == [DISK]


def test_what_has_moved_is_not_told_as_new_too() -> None:
    assert len(told(HERE, replaced(DISK, key=f"{BRIDGE}/pci:07.0"))) == 1


def test_one_that_has_moved_is_found_by_its_id_where_another_was() -> None:
    there = having(PORT, at(BEHIND, "pci:09.0"))
    here = having(at(PORT, "pci:09.0"))
    assert [one[2] for one in told(there, here)] == [
        "rng (virtio-rng-pci at pci:09.0) is pcie-root-port at the destination",
        "rp (pcie-root-port at pci:08.0) is at pci:09.0 at the destination",
    ]


def test_two_that_have_changed_places_are_told_by_what_is_there() -> None:
    """As the order of -device options does it; nothing is only at one end."""
    there = having(PORT, at(BEHIND, "pci:09.0"))
    here = having(at(PORT, "pci:09.0"), at(BEHIND, "pci:08.0"))
    assert [one[2] for one in told(there, here)] == [
        "rng (virtio-rng-pci at pci:09.0) is pcie-root-port at the destination",
        "rp (pcie-root-port at pci:08.0) is virtio-rng-pci at the destination",
    ]


@pytest.mark.parametrize(("one", "other"), [("kvm-ioapic", "ioapic"), ("kvm-i8259", "isa-i8259"), ("kvm-pit", "isa-pit")])
def test_a_part_of_the_board_may_be_kvms(one: str, other: str) -> None:
    key = "board/ioapic~0"
    assert told(having(Device(key, one)), having(Device(key, other))) == told(having(Device(key, other)), having(Device(key, one))) == []


def test_a_qemu_that_tells_no_devices() -> None:
    assert compare_devices(HERE, Hardware(HERE.machine)) == compare_devices(Hardware(HERE.machine), HERE) == ([], [])


def test_facts_of_devices() -> None:
    assert told(HERE, replaced(NIC, vectors=3)) == [
        ("failure", "n0", "n0 (virtio-net-pci at pci:05.0) has vectors=4 at the source and 3 at the destination")
    ]
    assert told(HERE, replaced(NIC_ITSELF, mq=False)) == [("failure", "n0", "n0 (virtio-net at pci:05.0) lacks mq at the destination")]
    assert told(replaced(NIC_ITSELF, mq=False), HERE) == [("warning", "n0", "n0 (virtio-net at pci:05.0) has mq only at the destination")]
    assert [one[0] for one in told(HERE, replaced(NIC_ITSELF, mac="x"))] == ["warning"]
    assert told(HERE, replaced(NIC_ITSELF, in_order=True)) == []  # which the other release does not know


@pytest.mark.parametrize(
    ("kind", "there", "here", "what"),
    [
        ("pcie-root-port", {"multifunction": True}, {"multifunction": False}, "multifunction=on at the source and off at the destination"),
        ("pc-dimm", {"memdev": "/objects/m1"}, {"memdev": "/objects/m2"}, "memdev=m1 at the source and m2 at the destination"),
        ("ide-hd", {"serial": ""}, {"serial": "QM00001"}, "serial=none at the source and QM00001 at the destination"),
        ("virtio-blk-device", {"num-queues": 1}, {"num-queues": 2}, "num-queues=1 at the source and 2 at the destination"),
    ],
)
def test_a_value_is_shown_as_an_option_takes_it(kind: str, there: dict[str, Any], here: dict[str, Any], what: str) -> None:
    """Only a virtio device has features, of which more do no harm; elsewhere, what is true or false must be equal."""
    one, other = (having(Device(f"{BRIDGE}/pci:09.0", kind, "x", facts)) for facts in (there, here))
    for first, second in ((one, other), (other, one)):
        assert [each[0] for each in told(first, second)] == ["failure"]
    assert told(one, other)[0][2].endswith(f" has {what}")


def test_a_remedy_has_an_end_and_the_list_too() -> None:
    many = {f"f{number:02}": True for number in range(20)}
    one = having(Device(f"{BRIDGE}/pci:09.0/virtio", "virtio-net-device", "x", many))
    other = having(Device(f"{BRIDGE}/pci:09.0/virtio", "virtio-net-device", "x", dict.fromkeys(many, False)))
    ((found,), _), ((more,), _) = compare_devices(one, other), compare_devices(other, one)
    assert found.what.endswith("f15 and 4 more at the destination")
    assert found.remedy == "add to that device: f00=on,f01=on,f02=on,f03=on,f04=on,f05=on"
    assert (more.level, more.remedy) == (Level.WARNING, "")


def test_of_another_machine_no_facts_are_told() -> None:
    """They follow from its type's version, and would hide it; what is missing is told all the same."""
    here = evolve(without(DISK), machine=Machine("pc-q35-8.0-machine", 1 << 27))
    there = evolve(replaced(NIC, vectors=3), machine=HERE.machine)
    assert [one[1] for one in told(there, here)] == ["pci:06.0"]


def exchanged(one: str, other: str, *, kind: str = "virtio-net-pci") -> list[str]:
    """What is told if two ids at the source, a and b, are ``one`` and ``other`` at the destination."""
    first, second = Device(f"{BRIDGE}/pci:09.0", "virtio-net-pci", "a"), Device(f"{BRIDGE}/pci:0a.0", kind, "b")
    here = having(evolve(first, ident=one), evolve(second, ident=other))
    return [each[2] for each in told(having(first, second), here)]


def test_ids_that_were_exchanged_mean_another_network() -> None:
    assert exchanged("b", "a") == [
        "a (virtio-net-pci at pci:09.0) is b at the destination",
        "b (virtio-net-pci at pci:0a.0) is a at the destination",
    ]


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("x", "y"), ("", ""), ("a", ""), ("a", "x")])
def test_other_ids_are_no_difference_to_a_guest(one: str, other: str) -> None:
    assert exchanged(one, other) == []


def test_ids_of_devices_that_are_not_alike_mean_nothing() -> None:
    assert exchanged("b", "a", kind="virtio-balloon-pci") == []


def test_ports_that_qemu_has_chosen() -> None:
    there = evolve(HERE, usb=("Kbd at port 1 of bus 0", "Hub at port 2 of bus 0", "Hub at port 2 of bus 0"))
    here = evolve(HERE, usb=("Hub at port 2 of bus 0", "Kbd at port 3 of bus 0"))
    assert told(there, there) == told(here, evolve(here, usb=(*here.usb, "Tablet at port 4 of bus 0"))) == []
    assert told(there, here) == [
        (
            *("failure", "usb"),
            "Hub at port 2 of bus 0, Kbd at port 1 of bus 0 at the source; at the destination Kbd at port 3 of bus 0",
        )
    ]
    assert told(there, HERE)[0][2].endswith("at the destination nothing")


def test_ports_of_what_is_missing_are_not_told_too() -> None:
    assert [one[1] for one in told(having(KBD, usb=("Kbd at port 1 of bus 0",)), HERE)] == ["usb-kbd~0"]


def test_failures_come_first() -> None:
    there, here = having(PORT), having(at(DISK, "pci:01.0"))
    assert [one[:2] for one in told(there, here)] == [("failure", "rp"), ("warning", "pci:01.0")]


KEYS = st.lists(st.sampled_from([f"{BRIDGE}/pci:{slot:02x}.0" for slot in range(8)]), unique=True)
DEVICES = KEYS.flatmap(
    lambda keys: st.tuples(*(st.builds(Device, st.just(key), st.sampled_from("ab"), st.sampled_from(["", "x", "y"])) for key in keys))
)


@given(DEVICES, DEVICES)
def test_nothing_of_the_source_is_missing_in_silence(there: tuple[Device, ...], here: tuple[Device, ...]) -> None:
    host = Device(BRIDGE, "q35-pcihost")
    one, other = (evolve(HERE, devices=(host, *devices)) for devices in (there, here))
    failed = [finding for finding in compare_devices(one, other)[0] if finding.level is Level.FAILURE]
    mine = {device.key: device.kind for device in here}
    for device in there:
        assert mine.get(device.key) == device.kind or any(finding.what.startswith(str(device)) for finding in failed)
    assert compare_devices(one, one) == ([], [])
