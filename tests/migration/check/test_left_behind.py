"""What of a disk would be lost with its source."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.migration.catalogue import CLOCK
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.left_behind import note_left_behind
from nbdtun.migration.settings import Belonging
from nbdtun.migration.vm.belongings import Belongings, Bitmap, Image
from nbdtun.migration.vm.bitmaps import MAX_BITMAPS, Passenger
from nbdtun.migration.vm.disks import Disk

VDA = Disk("vda", "", "d0", 4096)
CLEAN = "ok the images have no snapshots or bitmaps"


def noted(*found: Belongings, leave: tuple[Belonging, ...] = ()) -> Checklist:
    checklist = Checklist()
    note_left_behind(checklist, found, frozenset(leave))
    return checklist


def told(*leave: Belonging, **found: Any) -> list[str]:
    of_vda = Belongings(VDA, **found, image=Image("vda", "qcow2"), layers=("vda",))
    return [f"{one.level.value} {one}" for one in noted(of_vda, leave=leave).findings]


def travel(*bitmaps: Bitmap, leave: tuple[Belonging, ...] = (), able: bool = True) -> tuple[Passenger, ...]:
    return note_left_behind(Checklist(), [Belongings(VDA, (), bitmaps, Image("vda"), ("vda",))], frozenset(leave), able)


def test_nothing_is_left_behind() -> None:
    assert told() == told(*Belonging) == [CLEAN]


@pytest.mark.parametrize(
    ("found", "kind", "belonging"),
    [
        ({"snapshots": ("before",)}, "internal snapshots", Belonging.SNAPSHOTS),
        ({"bitmaps": (Bitmap("before", "base", True),)}, "persistent bitmaps", Belonging.BITMAPS),
    ],
)
def test_it_is_refused_unless_it_was_asked_for(found: Any, kind: str, belonging: Belonging) -> None:
    other = next(one for one in Belonging if one is not belonging)
    where = " (on the node base below the disk's image)" if belonging is Belonging.BITMAPS else ""
    refusal = f"failure disk vda: its {kind} would stay behind: before{where}; delete them, or migrate without them: --leave-behind"
    assert told(**found) == told(other, **found) == [f"{refusal} {belonging.value}"]
    assert told(belonging, **found) == [f"warning disk vda: its {kind} stay behind (--leave-behind): before"]


def test_bitmaps_of_the_image_travel_unless_they_are_to_stay() -> None:
    bitmaps = (Bitmap("kept", "vda", True), Bitmap("passing", "vda", False))
    assert told(bitmaps=bitmaps) == ["ok disk vda has the bitmaps kept, passing"]
    assert travel(*bitmaps) == (Passenger(0, "kept", True), Passenger(0, "passing", False))
    stay, lost = told(Belonging.BITMAPS, bitmaps=bitmaps)
    assert stay == "warning disk vda: its persistent bitmaps stay behind (--leave-behind): kept"
    assert lost.startswith("warning disk vda: bitmaps outside its image will be lost: passing; ")
    assert travel(*bitmaps, leave=(Belonging.BITMAPS,)) == travel(*bitmaps, able=False) == ()


def test_too_many_are_a_failure() -> None:
    many = tuple(Bitmap(f"b{number}", "vda", True) for number in range(MAX_BITMAPS + 1))
    assert travel(*many) == ()
    assert told(bitmaps=many)[-1].startswith("failure the disks have 201 bitmaps; at most 200 can travel; ")


def test_a_refusal_keeps_it_from_being_begun_and_a_wish_does_not() -> None:
    found = Belongings(VDA, ("before",))
    with pytest.raises(NotMigratable, match=r"^disk vda: its internal snapshots would stay behind: before; delete them"):
        noted(found).refuse()
    noted(found, leave=(Belonging.SNAPSHOTS,)).refuse()


def test_what_is_not_in_the_image_is_lost_anyway() -> None:
    """Nobody can ask for it: it lives in QEMU, and ends with it."""
    [line] = told(bitmaps=(Bitmap("b", "file", False),))
    assert line.startswith("warning disk vda: bitmaps outside its image will be lost: b (on the node file below the disk's image); backups")
    assert told(*Belonging, bitmaps=(Bitmap("b", "file", False),)) == [line.replace(" (on the node file below the disk's image)", "")]


def test_one_that_is_busy_would_fail_the_migration() -> None:
    """QEMU refuses to send any bitmap of such a disk."""
    busy = (Bitmap("b", "vda", False, "busy"),)
    assert told(bitmaps=busy)[0].startswith("failure disk vda: its bitmaps would stay behind: b (busy); delete them, or migrate without")
    assert told(Belonging.BITMAPS, bitmaps=busy)[0].startswith("warning disk vda: bitmaps outside its image will be lost: b (busy); ")


def test_bitmaps_of_both_kinds_are_told_apart() -> None:
    both = (Bitmap("kept", "vda", True, "inconsistent"), Bitmap("lost", "base", False))  # below the image
    refused, lost = told(bitmaps=both)
    assert refused.startswith("failure disk vda: its persistent bitmaps would stay behind: kept (inconsistent); ")
    assert lost.startswith("warning disk vda: bitmaps outside its image will be lost: lost (on the node base")


def test_each_disk_is_named() -> None:
    checklist = noted(Belongings(VDA), Belongings(Disk("#block7", "", "/machine/peripheral/d1/virtio-backend", 1), ("before",)))
    assert [finding.what for finding in checklist.findings] == ["disk d1: its internal snapshots would stay behind: before"]


def test_what_was_found_before_does_not_count() -> None:
    checklist = Checklist()
    checklist.add(CLOCK("something else", ""))
    note_left_behind(checklist, [Belongings(VDA)], frozenset())
    assert [f"{one.level.value} {one}" for one in checklist.findings] == ["warning something else", CLEAN]


@pytest.mark.parametrize(("number", "end"), [(8, "s6, s7; "), (8 + 1, "s7 and 1 more; "), (1000, "s7 and 992 more; ")])
def test_a_line_has_an_end(number: int, end: str) -> None:
    [line] = told(snapshots=tuple(f"s{each}" for each in range(number)))
    assert end in line
    assert "s8" not in line
