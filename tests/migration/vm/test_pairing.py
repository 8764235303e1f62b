"""Disks are paired by what the guest sees, or not at all."""

from __future__ import annotations

import re

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import DiskMismatch
from nbdtun.migration.vm.disks import Disk, Inventory, LeftOut
from nbdtun.migration.vm.pairing import Matches

ANON = "/machine/peripheral-anon/device[{}]"


def disk(node: str, place: str = "", qdev: str = "", **more: object) -> Disk:
    return evolve(Disk(node, "", qdev or ANON.format(0), 512, "raw", place), **more)  # type: ignore[arg-type]


def pair(wanted: list[Disk], here: list[Disk]) -> list[str]:
    """The nodes that were found, or what was said instead."""
    matches = Matches(Inventory(tuple(here)), tuple(wanted))
    found = []
    for each in wanted:
        try:
            found.append(matches.find(each).node)
        except DiskMismatch as error:
            found.append(str(error))
    return found


def test_by_the_address_whatever_the_order() -> None:
    wanted = [disk("a", "pci:05.0", ANON.format(0)), disk("b", "pci:06.0", ANON.format(1))]
    assert pair(wanted, [disk("x", "pci:06.0", ANON.format(0)), disk("y", "pci:05.0", ANON.format(1))]) == ["y", "x"]


def test_by_the_id_where_the_address_differs() -> None:
    assert pair([disk("a", "pci:05.0", "one")], [disk("z", "pci:08.0", "two"), disk("x", "pci:07.0", "one")]) == ["x"]


def test_by_the_id_behind_virtio() -> None:
    assert pair([disk("a", "", "/machine/peripheral/one/virtio-backend")], [disk("x", "", "one")]) == ["x"]


def test_by_the_serial_but_not_by_one_that_qemu_made_up() -> None:
    wanted = disk("a", "pci:05.0", serial="S1")
    assert pair([wanted], [disk("x", "pci:06.0", serial="S2"), disk("y", "pci:07.0", serial="S1")]) == ["y"]
    (said,) = pair([evolve(wanted, serial="QM00001")], [disk("x", "pci:06.0", serial="QM00001")])
    assert said.startswith("disk a: the destination has no writable disk at address pci:05.0; it has x (pci:06.0)")


def test_two_marks_that_do_not_agree() -> None:
    said = pair([disk("a", "pci:05.0", "one")], [disk("x", "pci:05.0", "two"), disk("y", "pci:06.0", "one")])
    assert said == [
        "disk a: the match is ambiguous: by address it is x; by device id it is y; "
        "give the devices at both ends the same addresses and the same ids"
    ]


def test_one_that_belongs_to_another_rather() -> None:
    """The third of three is missing at the destination, and the addresses that nobody gave have moved."""
    wanted = [disk("a", "pci:05.0", "one"), disk("b", "pci:06.0", "two")]
    first, second = pair(wanted, [disk("y", "pci:05.0", "two")])
    assert first.startswith("disk a: the match is ambiguous: by address it is y, but in reverse by device id it is b of the source")
    assert second.startswith("disk b: the match is ambiguous: by device id it is y, but in reverse by address it is a of the source")


def test_two_of_one_serial() -> None:
    said = pair([disk("a", serial="S")], [disk("x", serial="S"), disk("y", serial="S")])
    assert said[0].startswith("disk a: the match is ambiguous: by serial it is x or y; ")


def test_by_the_drive_that_an_operator_named() -> None:
    here = [disk("x", device="root"), disk("y", device="ide0-hd1")]
    assert pair([disk("a", device="root")], here) == ["x"]
    assert "no writable disk with drive id ide0-hd1" in pair([disk("a", device="ide0-hd1")], here)[0]


def test_by_the_turn_if_there_is_but_one() -> None:
    place = "pci:05.0/usb-storage~{}/scsi:0:0:0"
    wanted, here = [disk("a", place.format(0))], [disk("x", place.format(0))]
    assert pair(wanted, here) == ["x"]
    wanted.append(disk("b", place.format(1)))
    assert all("the match is ambiguous" in said for said in pair(wanted, [*here, disk("y", place.format(1))]))


def test_one_that_is_missing() -> None:
    left = Inventory((disk("sda", qdev="sda-dev"),), (LeftOut(disk("iso", qdev="vda-dev"), "it is read-only"),))
    with pytest.raises(DiskMismatch) as caught:
        Matches(left, ()).find(disk("vda", qdev="vda-dev", device="d0"))
    assert str(caught.value) == (
        "disk vda: the destination has no writable disk with id vda-dev or with drive id d0; "
        "it has sda (sda-dev); iso is not copied: it is read-only; start the destination with the same disks"
    )
    assert "it has no disks at all" in pair([disk("a")], [])[0]


def test_one_that_is_too_small() -> None:
    (said,) = pair([disk("a", "pci:05.0", size=513)], [disk("x", "pci:05.0")])
    assert (
        said
        == "disk a: 512 B at the destination is too small for 513 B at the source; stop that QEMU and run `qemu-img resize IMAGE 513` there"
    )


def test_two_that_would_share_one() -> None:
    matches = Matches(Inventory((disk("x", "pci:05.0"),)), ())
    matches.find(disk("a", "pci:05.0"))
    with pytest.raises(DiskMismatch, match="disks a and b both match x at the destination; give the devices ids"):
        matches.find(disk("b", "pci:05.0"))
    assert repr(matches) == "<Matches for a>"


SLOTS = st.lists(st.integers(1, 31), min_size=1, max_size=12, unique=True)


@given(SLOTS, st.randoms(use_true_random=False), st.booleans())
def test_no_order_exchanges_two_disks(slots: list[int], random: object, named: bool) -> None:
    """Whatever the order at the destination, and whatever numbers QEMU has given: each disk goes to its own address."""
    where = [f"pci:{slot:02x}.0" for slot in slots]
    other = list(enumerate(where))
    random.shuffle(other)  # type: ignore[attr-defined]
    wanted = [disk(f"a{n}", place, f"id{n}" if named else ANON.format(n)) for n, place in enumerate(where)]
    here = [disk(place, place, f"id{n}" if named else ANON.format(turn)) for turn, (n, place) in enumerate(other)]
    assert pair(wanted, here) == where


@given(SLOTS, SLOTS, st.randoms(use_true_random=False))
def test_what_is_paired_is_paired_by_all_that_is_known(one: list[int], two: list[int], random: object) -> None:
    wanted = [disk(f"a{n}", f"pci:{slot:02x}.0", f"id{n}") for n, slot in enumerate(one)]
    here = [disk(f"x{n}", f"pci:{slot:02x}.0", f"id{n}") for n, slot in enumerate(two)]
    random.shuffle(here)  # type: ignore[attr-defined]
    nodes = {each.node: each for each in here}
    for mine, said in zip(wanted, pair(wanted, here), strict=True):
        if re.fullmatch(r"x\d+", said):
            found = nodes[said]
            assert found.ident == mine.ident or found.place == mine.place
            assert not [each for each in here if each is not found and (each.ident == mine.ident or each.place == mine.place)]
