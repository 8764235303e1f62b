"""What an image has besides its content, and what becomes of that."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.left_behind import MAX_NAMES, note_left_behind
from nbdtun.migration.settings import Belonging
from nbdtun.migration.vm.belongings import Belongings, Bitmap, belongings
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph
from tests.migration.stage.paper import Sheet

DISK = Disk("filter", "", "d0", 4096)
SNAPSHOT = {"id": "1", "name": "before"}
BITMAP = {"name": "b0", "persistent": True, "inconsistent": True}
NODES = [
    {"node-name": "filter", "image": {"snapshots": [SNAPSHOT]}},
    {
        "node-name": "vda",
        "image": {"snapshots": [SNAPSHOT]},
        "dirty-bitmaps": [BITMAP, {}],
    },
    {"node-name": "base", "image": {"snapshots": [{"id": "7", "name": ""}]}, "dirty-bitmaps": [{"name": "b1", "busy": True}]},
    {"node-name": "another", "image": {"snapshots": [{"id": "9", "name": "not ours"}]}},
]
GRAPH = Graph({"filter": frozenset({"vda"}), "vda": frozenset({"base"})})


def test_all_images_of_a_disk_are_looked_at() -> None:
    got: list[tuple[Belongings, ...]] = []
    reading = belongings(Sheet(Clock(), {"query-named-block-nodes": NODES}), [DISK], GRAPH)
    Deferred.fromCoroutine(reading).addCallback(got.append)
    bitmaps = (Bitmap("b0", "vda", True, "inconsistent"), Bitmap("b1", "base", False, "busy"))
    assert got == [(Belongings(DISK, ("before", "7"), bitmaps),)]


def told(*leave: Belonging, **found: Any) -> list[str]:
    checklist = Checklist()
    note_left_behind(checklist, [Belongings(Disk("vda", "", "d0", 4096), **found)], frozenset(leave))
    return [f"{finding.level.value} {finding}" for finding in checklist.findings]


def test_nothing_is_left_behind() -> None:
    assert told() == ["ok the images have no snapshots or bitmaps"]


@pytest.mark.parametrize(
    ("found", "kind", "belonging"),
    [
        ({"snapshots": ("before",)}, "internal snapshots", Belonging.SNAPSHOTS),
        ({"bitmaps": (Bitmap("before", "vda", True),)}, "persistent bitmaps", Belonging.BITMAPS),
    ],
)
def test_it_is_refused_unless_it_was_asked_for(found: Any, kind: str, belonging: Belonging) -> None:
    other = next(one for one in Belonging if one is not belonging)
    refusal = f"failure disk vda: its {kind} would stay behind: before; delete them, or migrate without them: --leave-behind"
    assert told(**found) == told(other, **found) == [f"{refusal} {belonging.value}"]
    assert told(belonging, **found) == [f"warning disk vda: its {kind} stay behind (--leave-behind): before"]


def test_what_is_not_in_the_image_is_lost_anyway() -> None:
    [line] = told(bitmaps=(Bitmap("b", "vda", False, "busy"),))
    assert line.startswith("warning disk vda: bitmaps outside its image will be lost: b (busy); backups that rely on them")


def test_a_line_has_an_end() -> None:
    [line] = told(snapshots=tuple(f"s{number}" for number in range(MAX_NAMES + 3)))
    assert "s7 and 3 more; " in line
    assert "s8" not in line
