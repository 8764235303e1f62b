"""What an image has besides its content, as QEMU tells it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

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


def test_a_bitmap_is_called_by_its_state() -> None:
    """One that is inconsistent is of no use any more, and so is asked about first."""
    assert [str(Bitmap("b0", "vda", True, state)) for state in ("", "busy", "inconsistent")] == ["b0", "b0 (busy)", "b0 (inconsistent)"]
