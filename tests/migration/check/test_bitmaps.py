"""Which bitmaps the destination takes: for those that it cannot take, the disk and the reason are told."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.check.bitmaps import Accepted, accept
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.vm.bitmaps import Passenger
from nbdtun.migration.vm.disks import Disk
from tests.migration.stage.paper import Sheet

THERE = Disk("vda", "", "d0", 4096)
HERE = Disk("target", "", "d0", 4096)
B0, M0 = Passenger(0, "b0", True), Passenger(0, "m0", False)
V3 = {"format-specific": {"data": {"compat": "1.1"}}}
CAN = {"capability": "dirty-bitmaps", "state": False}


def accepted(*wanted: Passenger, here: Disk = HERE, number: int = 0, can: bool = True, **node: Any) -> tuple[Accepted, list[str]]:
    told = {"node-name": "target", "drv": "qcow2", "image": V3} | {key.replace("_", "-"): value for key, value in node.items()}
    qemu = Sheet(Clock(), {"query-named-block-nodes": [told], "query-migrate-capabilities": [CAN] if can else []})
    checklist = Checklist()
    got: list[Accepted] = []
    Deferred.fromCoroutine(accept(checklist, qemu, {number: (THERE, here)}, wanted)).addCallback(got.append)
    return got[0], [f"{one.level.value} {one.check} {one}" for one in checklist.findings]


REMEDY = "; use a qcow2 image of the same size there, without such bitmaps; or migrate without them: --leave-behind bitmaps"
LOST = "; backups that rely on them must start again with a full one"


def test_a_qcow2_of_the_same_size_takes_all() -> None:
    assert accepted(B0, M0) == (Accepted((B0, M0), {0: "target"}), ["ok images disk vda: bitmaps b0, m0 travel"])


def test_without_bitmaps_nothing_is_asked() -> None:
    assert accepted() == (Accepted(), [])


def test_those_of_a_disk_that_has_no_counterpart_go_nowhere() -> None:
    assert accepted(B0, number=1) == (Accepted(), [])


def test_raw_takes_those_that_are_in_no_image() -> None:
    taken, told = accepted(B0, M0, drv="raw")
    assert taken.bitmaps == (M0,)
    assert told == [
        f"failure images disk vda: its persistent bitmaps would stay behind: b0; the destination's image is raw, and only qcow2 stores "
        f"bitmaps{REMEDY}",
        "ok images disk vda: bitmaps m0 travel",
    ]


def test_an_old_qcow2_stores_none() -> None:
    _, told = accepted(B0, image={"format-specific": {"data": {"compat": "0.10"}}})
    assert told[0].startswith(
        "failure images disk vda: its persistent bitmaps would stay behind: b0; the destination's image is qcow2 with"
    )


def test_a_larger_image_takes_none() -> None:
    larger = Disk("target", "", "d0", 8192)
    taken, told = accepted(B0, Passenger(0, "b1", True), M0, here=larger)
    assert taken.bitmaps == ()
    assert told == [
        f"failure images disk vda: its persistent bitmaps would stay behind: b0, b1; the destination's image is larger{REMEDY}",
        f"warning images disk vda: bitmaps outside its image will be lost: m0 (the destination's image is larger){LOST}",
    ]


def test_a_name_that_is_taken() -> None:
    taken, told = accepted(B0, M0, dirty_bitmaps=[{"name": "b0"}, {"name": "m0"}])
    assert taken.bitmaps == ()
    assert told[0].startswith("failure images disk vda: its persistent bitmaps would stay behind: b0; the destination's image has a bitmap")
    assert told[1].startswith("warning images disk vda: bitmaps outside its image will be lost: m0 (the destination's image has a bitmap")


def test_a_qemu_that_cannot_receive_any() -> None:
    assert accepted(B0, can=False)[1][0].startswith(
        "failure images disk vda: its persistent bitmaps would stay behind: b0; QEMU there cannot receive bitmaps; "
    )
