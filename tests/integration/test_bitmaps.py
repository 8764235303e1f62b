"""Dirty bitmaps travel with their disk; and whatever becomes of the migration, those at the source stay complete."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qemu import Build, Qemu
from tests.integration.bitmaps import ALL, KEPT, OFF, PASSING, add, bitmaps, digest, unrecorded
from tests.integration.checked import findings
from tests.integration.outcome import arrived, stayed, undisturbed
from tests.integration.test_obstacles import overlay

QCOW2 = Plan(16 * MIB, "qcow2", filled=0.5)
Maker = Callable[..., Pair]
Crossings = Callable[..., Crossing]


@pytest.fixture(
    params=[
        pytest.param(("native", "native"), marks=pytest.mark.slow),
        pytest.param(("recent", "recent"), marks=pytest.mark.slow),
        ("native", "recent"),
        ("recent", "native"),
    ],
    ids="-".join,
)
def builds(request: pytest.FixtureRequest) -> tuple[Build, Build]:
    here, there = (request.getfixturevalue(f"{name}_qemu") for name in request.param)
    return here, there


@pytest.fixture(params=["native_qemu", pytest.param("recent_qemu", marks=pytest.mark.slow)])
def alike(request: pytest.FixtureRequest) -> tuple[Build, Build]:
    return (request.getfixturevalue(request.param),) * 2


def test_they_travel(pairs: Maker, crossings: Crossings, builds: tuple[Build, Build]) -> None:
    crossing = crossings(pairs(QCOW2, builds=builds))
    pair = crossing.pair
    backup = add(pair.source)
    ok = findings(crossing, level="ok")
    assert "disk vda has the bitmaps kept, off, passing" in ok
    assert "disk vda: bitmaps kept, off, passing travel" in ok
    assert findings(crossing) == findings(crossing, level="warning") == []
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)
    there = bitmaps(pair.destination)
    assert {name: told[:2] for name, told in there.items()} == ALL
    assert there[KEPT][2] > 0
    assert there[OFF][2] == 0
    pair.destination.quit()
    assert unrecorded(pair.destination.drives[0].disk.path, KEPT, backup) == []


def test_their_content_is_the_same_bit_by_bit(pairs: Maker, crossings: Crossings, alike: tuple[Build, Build]) -> None:
    """Of a guest that is paused, and so writes nothing at the destination; the source's own are stored in its image."""
    crossing = crossings(pairs(QCOW2, builds=alike))
    pair = crossing.pair
    backup = add(pair.source)
    pair.source.qmp("stop")
    was = {name: digest(pair.source, name) for name in (KEPT, OFF, PASSING)}
    assert crossing.migrate("--keep-source").wait_exit(60) == 0
    assert {name: digest(pair.destination, name) for name in was} == was
    assert list(bitmaps(pair.source)) == [PASSING]
    pair.source.quit()
    assert unrecorded(pair.source.drives[0].disk.path, KEPT, backup) == []


@pytest.fixture
def gates(directory: Path) -> Iterator[Callable[..., Gate]]:
    """Makes a gate before a monitor: `gates(vm, "migrate")`."""
    with ExitStack() as ended:
        yield lambda vm, *held: ended.enter_context(Gate(directory / "gate.qmp", vm.qmp_path, *held))


@pytest.mark.parametrize("held", [pytest.param("migrate", marks=pytest.mark.slow), "migrate-continue"])
def test_after_a_rollback_they_are_at_the_source(
    pairs: Maker, crossings: Crossings, gates: Callable[..., Gate], alike: tuple[Build, Build], held: str
) -> None:
    """In its image too, when its QEMU ends: QEMU itself forgets to store those that it has begun to send."""
    pair = pairs(QCOW2, builds=alike)
    backup = add(pair.source)
    gate = gates(pair.source, held)
    crossing = crossings(pair, qmp=(gate.path, pair.destination.qmp_path))
    cancelled(crossing, gate)
    stayed(crossing)
    pair.source.wait_ticks(5)
    assert {name: told[:2] for name, told in bitmaps(pair.source).items()} == ALL
    pair.source.quit()
    assert unrecorded(pair.source.drives[0].disk.path, KEPT, backup) == []


def cancelled(crossing: Crossing, gate: Gate) -> None:
    """The answer to the command before the gate is not waited for any more."""
    attempt = crossing.migrate()
    gate.wait_held()
    attempt.signal(signal.SIGINT)
    time.sleep(0.5)
    gate.open()
    assert attempt.wait_exit(60) == 130, attempt.log()


def again(crossing: Crossing, backup: Path) -> None:
    """A second try takes all of them with it."""
    pair = crossing.pair
    pair.renew_destination()
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)
    assert {name: told[:2] for name, told in bitmaps(pair.destination).items()} == ALL
    pair.destination.quit()
    assert unrecorded(pair.destination.drives[0].disk.path, KEPT, backup) == []


def test_after_a_rollback_from_completed_they_are_at_the_source(
    pairs: Maker, crossings: Crossings, gates: Callable[..., Gate], alike: tuple[Build, Build]
) -> None:
    """QEMU has stored them in the image by then, and forgotten them."""
    pair = pairs(QCOW2, builds=alike)
    backup = add(pair.source)
    gate = gates(pair.source, "qom-set", 5)  # the journal's entry of the handover
    crossing = crossings(pair, qmp=(gate.path, pair.destination.qmp_path))
    attempt = crossing.migrate()
    gate.wait_held()
    assert pair.source.status() == "postmigrate"
    assert bitmaps(pair.destination).keys() == ALL.keys()
    pair.destination.kill()
    gate.open()
    assert attempt.wait_exit(60) == 1, attempt.log()
    undisturbed(pair)
    pair.source.wait_ticks(5)
    assert {name: told[:2] for name, told in bitmaps(pair.source).items()} == ALL
    again(crossing, backup)


def test_a_second_try_after_a_kill_removes_the_copies(pairs: Maker, crossings: Crossings, gates: Callable[..., Gate]) -> None:
    pair = pairs(QCOW2)
    backup = add(pair.source)
    gate = gates(pair.source, "migrate-continue")
    crossing = crossings(pair, qmp=(gate.path, pair.destination.qmp_path), options=["--resume-window", "2s"])
    attempt = crossing.migrate()
    gate.wait_held()
    attempt.kill()
    gate.open()
    assert sum(name.startswith("nbdtun-") for name in bitmaps(pair.source)) == 3
    pair.destination.wait_exit(30)
    again(crossing, backup)


def test_one_that_comes_while_the_memory_is_sent(pairs: Maker, crossings: Crossings, gates: Callable[..., Gate]) -> None:
    """It would not be sent any more, so nothing is."""
    pair = pairs(QCOW2)
    gate = gates(pair.source, "migrate")
    crossing = crossings(pair, qmp=(gate.path, pair.destination.qmp_path))
    attempt = crossing.migrate()
    gate.wait_held()
    backup = add(pair.source)
    gate.open()
    assert attempt.wait_exit(60) == 1
    assert attempt.complaints()[-1].startswith(
        "nbdtun: disk vda: bitmaps were added or removed while the memory was sent: kept, off, passing; "
        "migrate again when no backup is being made"
    )
    undisturbed(pair)
    again(crossing, backup)


REMEDY = "use a qcow2 image of the same size there, without such bitmaps; or migrate without them: --leave-behind bitmaps"


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (Plan(16 * MIB, "qcow2", target_fmt="raw"), "the destination's image is raw, and only qcow2 stores bitmaps"),
        (Plan(16 * MIB, "qcow2", target_size=20 * MIB), "the destination's image is larger"),
    ],
)
def test_a_target_that_cannot_take_them(pairs: Maker, crossings: Crossings, alike: tuple[Build, Build], plan: Plan, why: str) -> None:
    crossing = crossings(pairs(plan, builds=alike))
    add(crossing.pair.source)
    told = [f"disk vda: its persistent bitmaps would stay behind: kept, off; {why}; {REMEDY}"]
    assert findings(crossing) == told
    attempt = crossing.migrate()
    assert attempt.wait_exit(60) == 1
    assert attempt.complaints()[-1] == f"nbdtun: {told[0]}"
    stayed_unused(crossing)
    assert crossing.migrate("--leave-behind", "bitmaps").wait_exit(60) == 0
    arrived(crossing)
    assert bitmaps(crossing.pair.destination) == {}


def stayed_unused(crossing: Crossing) -> None:
    """The destination's QEMU can still be used."""
    assert crossing.pair.disturbance() == []
    assert crossing.pair.destination.status() == "inmigrate"
    assert crossing.pair.destination.leftovers() == []


def test_one_in_memory_travels_to_a_raw_image(pairs: Maker, crossings: Crossings) -> None:
    crossing = crossings(pairs(Plan(16 * MIB, "qcow2", target_fmt="raw")))
    crossing.pair.source.wait_ticks(1)  # firmware leaves the write cache off, and is warned of
    crossing.pair.source.qmp("block-dirty-bitmap-add", node="vda", name=PASSING)
    assert findings(crossing) == findings(crossing, level="warning") == []
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)
    assert bitmaps(crossing.pair.destination)[PASSING][:2] == (False, True)


def test_a_name_that_is_taken_at_the_destination(pairs: Maker, crossings: Crossings) -> None:
    crossing = crossings(pairs(QCOW2))
    crossing.pair.source.wait_ticks(1)
    add(crossing.pair.source)
    for name in (KEPT, PASSING):
        crossing.pair.destination.qmp("block-dirty-bitmap-add", node="vda", name=name)
    taken = "the destination's image has a bitmap of this name"
    assert findings(crossing) == [f"disk vda: its persistent bitmaps would stay behind: kept; {taken}; {REMEDY}"]
    (lost,) = findings(crossing, level="warning")
    assert lost.startswith(f"disk vda: bitmaps outside its image will be lost: passing ({taken}); ")
    crossing.pair.destination.qmp("block-dirty-bitmap-remove", node="vda", name=KEPT)
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)
    assert bitmaps(crossing.pair.destination).keys() == {KEPT, OFF, PASSING}


def test_those_that_cannot_leave(pairs: Maker, crossings: Crossings, alike: tuple[Build, Build]) -> None:
    """One is in a backing file, one in use, one inconsistent after a crash."""
    pair = pairs(QCOW2, builds=alike)
    vm = pair.source
    add(vm)
    vm.quit()
    pair.renew_source()
    pair.renew_source()  # the one before it was killed
    crossing = crossings(pair)
    vm = pair.source
    remedy = "delete them, or migrate without them: --leave-behind bitmaps"
    (told,) = findings(crossing)
    assert told == f"disk vda: its persistent bitmaps would stay behind: kept (inconsistent), off (inconsistent); {remedy}"
    for name in (KEPT, OFF):
        vm.qmp("block-dirty-bitmap-remove", node="vda", name=name)
    vm.qmp("block-dirty-bitmap-add", node="vda", name="used", persistent=True)
    vm.qmp("blockdev-add", **{"driver": "null-co", "node-name": "tgt", "size": 16 * MIB})
    backup = {"job-id": "nightly", "device": "vda", "target": "tgt", "sync": "incremental", "bitmap": "used", "speed": 1}
    vm.qmp("blockdev-backup", **backup)
    assert f"disk vda: its persistent bitmaps would stay behind: used (busy); {remedy}" in findings(crossing) or vm.qmp("query-jobs") == []
    if vm.qmp("query-jobs"):
        vm.qmp("block-job-cancel", device="nightly", force=True)
        wait(lambda: vm.qmp("query-jobs") == [], 10, "the end of the job")
    overlay(vm)
    (told,) = findings(crossing)
    assert told == f"disk over: its persistent bitmaps would stay behind: used (on the node vda below the disk's image); {remedy}"


def test_beneath_a_filter_and_on_it(pairs: Maker, crossings: Crossings, alike: tuple[Build, Build]) -> None:
    """The guest sees the filter; the bitmaps are on the image below it, and one on the filter itself goes there too."""
    pair = pairs(QCOW2, builds=alike, paused=True)
    vm = pair.source
    vm.qmp("object-add", **{"qom-type": "throttle-group", "id": "tg", "limits": {"iops-total": 100000}})
    vm.qmp("blockdev-add", **{"driver": "throttle", "node-name": "slow", "throttle-group": "tg", "file": "vda"})
    vm.qmp("qom-set", path="/machine/peripheral/vda-dev", property="drive", value="slow")
    vm.qmp("block-dirty-bitmap-add", node="vda", name=KEPT, persistent=True)
    vm.qmp("block-dirty-bitmap-add", node="slow", name=PASSING)
    crossing = crossings(pair)
    assert "disk slow: bitmaps kept, passing travel" in findings(crossing, level="ok")
    assert crossing.migrate().wait_exit(60) == 0
    assert {name: told[:2] for name, told in bitmaps(pair.destination).items()} == {KEPT: (True, True), PASSING: (False, True)}


@pytest.mark.slow
@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_mapping_that_somebody_has_set(pairs: Maker, crossings: Crossings, gates: Callable[..., Gate], end: str) -> None:
    """It is put back after a failure, and has no effect meanwhile."""
    pair = pairs(QCOW2)
    vm: Qemu = getattr(pair, end)
    theirs = [{"node-name": "vda", "alias": "theirs", "bitmaps": [{"name": KEPT, "alias": "k"}]}]
    vm.qmp("migrate-set-capabilities", capabilities=[{"capability": "dirty-bitmaps", "state": True}])
    vm.qmp("migrate-set-parameters", **{"block-bitmap-mapping": theirs})
    add(pair.source)
    monitors = [pair.source.qmp_path, pair.destination.qmp_path]
    gate = gates(vm, "migrate" if end == "source" else "migrate-incoming")
    monitors[end == "destination"] = gate.path
    crossing = crossings(pair, qmp=(monitors[0], monitors[1]))
    cancelled(crossing, gate)
    if vm.running():
        assert vm.qmp("query-migrate-parameters")["block-bitmap-mapping"] == theirs
        on = [told["capability"] for told in vm.qmp("query-migrate-capabilities") if told["state"]]
        assert on == ["dirty-bitmaps"]
