"""What an image has besides its content, as QEMU tells it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.vm.belongings import Belongings, Bitmap, Image, belongings
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph
from tests.migration.stage.paper import Sheet

DISK = Disk("filter", "", "d0", 4096)
SNAPSHOT = {"id": "1", "name": "before"}
BITMAP = {"name": "b0", "persistent": True, "inconsistent": True}
VERSION = {"format-specific": {"type": "qcow2", "data": {"compat": "1.1"}}}
NODES: list[dict[str, Any]] = [
    {"node-name": "filter", "drv": "throttle", "image": {"snapshots": [SNAPSHOT]}},
    {
        "node-name": "vda",
        "drv": "qcow2",
        "image": {"snapshots": [SNAPSHOT], **VERSION},
        "dirty-bitmaps": [BITMAP, {}, {"name": "nbdtun-0-0"}],
    },
    {
        "node-name": "base",
        "drv": "qcow2",
        "image": {"snapshots": [{"id": "7", "name": ""}]},
        "dirty-bitmaps": [{"name": "b1", "busy": True, "recording": False, "granularity": 512}],
    },
    {"node-name": "another", "drv": "raw", "image": {"snapshots": [{"id": "9", "name": "not ours"}]}},
]
BELOW = frozenset({"filter", "vda", "base"})
GRAPH = Graph({"filter": frozenset({"vda"}), "vda": frozenset({"base"})})


def read(nodes: list[dict[str, Any]], graph: Graph = GRAPH, disk: Disk = DISK) -> Belongings:
    got: list[tuple[Belongings, ...]] = []
    Deferred.fromCoroutine(belongings(Sheet(Clock(), {"query-named-block-nodes": nodes}), [disk], graph)).addCallback(got.append)
    ((one,),) = got
    return one


def test_all_images_of_a_disk_are_looked_at() -> None:
    """Bitmaps of jobs, which have no name, and our own copies are nobody's belongings."""
    bitmaps = (Bitmap("b0", "vda", True, "inconsistent"), Bitmap("b1", "base", False, "busy", recording=False, granularity=512))
    assert read(NODES) == Belongings(DISK, ("before", "7"), bitmaps, Image("vda", "qcow2"), ("filter", "vda"), BELOW)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ({"drv": "raw"}, "is raw, and only qcow2 stores bitmaps"),
        ({}, "is of an unknown format, and only qcow2 stores bitmaps"),
        (
            {"drv": "qcow2", "image": {"format-specific": {"data": {"compat": "0.10"}}}},
            "is qcow2 with compat=0.10, which stores no bitmaps",
        ),
        ({"drv": "qcow2", "image": VERSION}, ""),
    ],
)
def test_an_image_that_stores_no_bitmaps(node: dict[str, Any], why: str) -> None:
    one = read([{"node-name": "vda", **node}], Graph({}), Disk("vda", "", "d0", 4096))
    assert one.image == Image("vda", node.get("drv", ""), why)


def test_a_filter_with_two_nodes_below_it_is_not_passed() -> None:
    """And one that is last has no image below it."""
    two = Graph({"filter": frozenset({"vda", "base"})})
    assert read(NODES, two).layers == read(NODES, Graph({})).layers == ("filter",)


def test_a_bitmap_is_called_by_its_state() -> None:
    """One that is inconsistent is of no use any more, and so is asked about first."""
    assert [str(Bitmap("b0", "vda", True, state)) for state in ("", "busy", "inconsistent")] == ["b0", "b0 (busy)", "b0 (inconsistent)"]
