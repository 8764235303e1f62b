"""Bitmaps on their way: which of them can travel, and the copies that are sent in their place."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed, NotMigratable
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.belongings import Belongings, Bitmap, Image
from nbdtun.migration.vm.bitmaps import MAX_BITMAPS, MAX_NAME, Copies, Luggage, Passenger, able, expected, passengers, sort, sweep
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.memory import MAPPING, Tuning
from tests.migration.stage.paper_qemu import PaperQemu

VDA = Disk("vda", "", "vda-dev", 1 << 20)
NAME = "nbdtun-0123456789abcdef-0"
ON_VDA = Belongings(VDA, image=Image("vda", "qcow2"), layers=("filter", "vda"))


def sorted_of(*bitmaps: Bitmap, able: bool = True) -> Luggage:
    return sort(Belongings(VDA, (), bitmaps, ON_VDA.image, ON_VDA.layers), able)


def test_what_is_on_the_image_or_a_filter_above_it_travels() -> None:
    bitmaps = (Bitmap("m", "filter", False), Bitmap("b", "vda", True), Bitmap("off", "vda", True, recording=False))
    assert sorted_of(*bitmaps) == Luggage(travel=(bitmaps[1], bitmaps[2], bitmaps[0]))


@pytest.mark.parametrize(
    ("bitmap", "why"),
    [
        (Bitmap("b", "base", True), "on the node base below the disk's image"),
        (Bitmap("b", "base", False, "busy"), "on the node base below the disk's image"),
        (Bitmap("b", "vda", True, "inconsistent"), "inconsistent"),
        (Bitmap("b", "vda", False, "busy"), "busy"),
        (Bitmap("é" * 128, "vda", False), "its name is too long"),
    ],
)
def test_what_does_not(bitmap: Bitmap, why: str) -> None:
    (stuck,) = sorted_of(bitmap).stuck
    assert (stuck.name, stuck.state) == (bitmap.name, why)


def test_the_longest_name_travels() -> None:
    assert sorted_of(Bitmap("b" * MAX_NAME, "vda", True)).stuck == ()


def test_of_two_with_one_name_the_persistent_one_travels() -> None:
    luggage = sorted_of(Bitmap("b", "filter", False), Bitmap("b", "vda", True))
    assert (luggage.travel, str(luggage.stuck[0])) == ((Bitmap("b", "vda", True),), "b (two have this name)")


def test_a_qemu_that_cannot_send_any() -> None:
    assert str(sorted_of(Bitmap("b", "vda", True), able=False).stuck[0]) == "b (this QEMU cannot send bitmaps)"


def test_passengers_are_numbered_by_their_disks_and_not_too_many() -> None:
    one = Luggage(travel=(Bitmap("b", "vda", True),))
    assert passengers([one, Luggage(), one]) == (Passenger(0, "b", True), Passenger(2, "b", True))
    full = Luggage(travel=one.travel * MAX_BITMAPS)
    assert len(passengers([full])) == MAX_BITMAPS
    with pytest.raises(NotMigratable, match="the disks have 201 bitmaps; at most 200 can travel; delete some, or migrate without them"):
        passengers([full, one])


def test_the_destination_knows_each_disk_by_its_alias() -> None:
    some = (Passenger(1, "b", True), Passenger(0, "a", False), Passenger(1, "c", True))
    assert expected(some, {0: ("#block1", "x-0"), 1: ("vdb", "x-1")}) == [
        {"node-name": "#block1", "alias": "x-0", "bitmaps": [{"name": "a", "alias": "a"}]},
        {"node-name": "vdb", "alias": "x-1", "bitmaps": [{"name": "b", "alias": "b"}, {"name": "c", "alias": "c"}]},
    ]


class Source:
    """A QEMU with bitmaps, and the copies of them."""

    def __init__(self, *bitmaps: dict[str, Any], leave: bool = False) -> None:
        self.clock = Clock()
        self.qemu = PaperQemu(self.clock, "web1")
        Deferred.fromCoroutine(self.qemu.connect())
        self.qemu.bitmaps = [{"node": "vda", **bitmap} for bitmap in bitmaps]
        self.undo, self.tuning = UndoStack(self.clock, 1), Tuning(self.qemu)
        self.copies = Copies(self.qemu, {NAME: VDA}, leave)

    def do(self, work: Any) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
        self.clock.pump([0.001] * 60)
        return got[0]

    def make(self) -> Any:
        return self.do(self.copies.make(self.undo, self.tuning))

    def names(self) -> list[str]:
        return [bitmap["name"] for bitmap in self.qemu.bitmaps]


B0, OFF, M0 = {"name": "b0", "persistent": True}, {"name": "off", "persistent": True, "recording": False}, {"name": "m0"}
COPIES = [
    {"name": f"{NAME}-0", "alias": "b0", "transform": {"persistent": True}},
    {"name": f"{NAME}-1", "alias": "off", "transform": {"persistent": True}},
    {"name": f"{NAME}-2", "alias": "m0", "transform": {"persistent": False}},
]
SENT = [{"node-name": "vda", "alias": NAME, "bitmaps": COPIES}]


def test_copies_are_sent_and_removed() -> None:
    source = Source(B0, OFF, M0)
    assert source.make() is None
    assert source.copies.passengers == (Passenger(0, "b0", True), Passenger(0, "off", True), Passenger(0, "m0", False))
    assert repr(source.copies) == "<Copies of 3 bitmaps>"
    copies = source.qemu.bitmaps[3:]
    assert [(copy["recording"], copy["of"]) for copy in copies] == [(True, "b0"), (False, "off"), (True, "m0")]
    assert source.qemu.parameters[MAPPING] == SENT
    assert source.qemu.capabilities["dirty-bitmaps"]
    assert source.do(source.undo.unwind()) == []
    assert source.names() == ["b0", "off", "m0"]
    assert source.qemu.parameters[MAPPING] == []
    assert not source.qemu.capabilities["dirty-bitmaps"]


def test_without_bitmaps_nothing_is_touched() -> None:
    for source in (Source(), Source(B0, leave=True)):
        assert source.make() is None
        assert source.copies.passengers == ()
        assert source.do(source.copies.check()) is None
        assert not any(command.startswith(("block-dirty", "migrate-set")) for command in source.qemu.asked)


def test_another_clients_mapping_is_emptied_meanwhile() -> None:
    """It has left the capability on: what it would send, the destination does not know."""
    source = Source()
    theirs = [{"node-name": "vda", "alias": "a", "bitmaps": []}]
    source.qemu.capabilities["dirty-bitmaps"], source.qemu.parameters[MAPPING] = True, theirs
    source.make()
    assert source.qemu.parameters[MAPPING] == []
    source.do(source.undo.unwind())
    assert source.qemu.parameters[MAPPING] == theirs
    assert source.qemu.capabilities["dirty-bitmaps"]


@pytest.mark.parametrize("state", ["busy", "inconsistent"])
def test_one_that_cannot_travel_has_come_meanwhile(state: str) -> None:
    source = Source(B0 | {state: True})
    assert str(source.make()) == (
        f"disk vda: bitmaps have come that would stay behind: b0 ({state}); delete them, or migrate without bitmaps: --leave-behind bitmaps"
    )
    assert source.names() == ["b0"]


def test_one_that_cannot_be_copied_leaves_none() -> None:
    source = Source(B0)
    source.qemu.fails["block-dirty-bitmap-merge"] = CommandFailed("web1: QEMU refused block-dirty-bitmap-merge")
    assert isinstance(source.make(), CommandFailed)
    assert source.do(source.undo.unwind()) == []
    assert source.names() == ["b0"]


def test_the_destination_does_not_take_all() -> None:
    source = Source(B0, M0)
    source.make()
    source.do(source.copies.restrict([Passenger(0, "b0", True)], source.tuning))
    assert source.copies.passengers == (Passenger(0, "b0", True),)
    assert source.qemu.parameters[MAPPING] == [{"node-name": "vda", "alias": NAME, "bitmaps": COPIES[:1]}]
    source.do(source.copies.restrict([], source.tuning))
    assert source.qemu.parameters[MAPPING] == []


@pytest.mark.parametrize(("after", "changed"), [([B0, M0], "m0"), ([], "b0"), ([M0], "b0, m0")])
def test_bitmaps_that_come_and_go_while_the_memory_is_sent(after: list[dict[str, Any]], changed: str) -> None:
    source = Source(B0)
    source.make()
    assert source.do(source.copies.check()) is None
    source.qemu.bitmaps = [{"node": "vda", **bitmap} for bitmap in after]
    error = source.do(source.copies.check())
    assert isinstance(error, NotMigratable)
    assert str(error).startswith(f"disk vda: bitmaps were added or removed while the memory was sent: {changed}; ")


def test_what_a_killed_migration_has_left_is_swept_away() -> None:
    source = Source(B0, {"name": f"{NAME}-0"}, {"name": "nbdtun"})
    assert source.do(sweep(source.qemu)) == [f"{NAME}-0"]
    assert source.names() == ["b0", "nbdtun"]


def test_it_is_asked_whether_it_can() -> None:
    source = Source()
    assert source.do(able(source.qemu)) is True
    del source.qemu.capabilities["dirty-bitmaps"]
    assert source.do(able(source.qemu)) is False
