"""What stands in the way at either end: all of it is looked at, and told in one order."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MonitorError, MonitorLost
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.obstacles import note_obstacles_to_arriving, note_obstacles_to_leaving
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.settings import Belonging
from nbdtun.migration.vm.bitmaps import Passenger
from nbdtun.migration.vm.disks import Disk
from tests.migration.stage.paper import Sheet

DISK = Disk("vda", "", "vda-dev", 4096)
GRAPH = {"nodes": [{"id": 1, "name": "vda"}, {"id": 2, "name": "base"}], "edges": [{"parent": 1, "child": 2}]}
SNAPSHOT = [{"node-name": "base", "image": {"snapshots": [{"id": "1", "name": "before"}]}}]
NOTHING = {
    End.SOURCE: [
        "ok capabilities: QEMU at the source has no conflicting migration capability on",
        "ok jobs: no job, export or dump is in the way at the source",
        "ok images: the images have no snapshots or bitmaps",
    ],
    End.DESTINATION: [
        "ok capabilities: QEMU at the destination has no conflicting migration capability on",
        "ok jobs: no job, export or dump is in the way at the destination",
    ],
}


def sheet(*capabilities: str, **answers: Any) -> Sheet:
    """A QEMU that tells its block graph, with these capabilities on; an answer's name has underscores."""
    given = {name.replace("_", "-"): answer for name, answer in answers.items()}
    empty: dict[str, Any] = {"query-jobs": [], "query-block-exports": [], "query-named-block-nodes": []}
    on = [{"capability": name, "state": True} for name in capabilities]
    more = {
        "query-migrate-capabilities": [*on, {"capability": "xbzrle", "state": False}, {"capability": "dirty-bitmaps", "state": False}],
        "x-debug-query-block-graph": GRAPH,
    }
    qemu = Sheet(Clock(), {**empty, **more, **given})
    qemu.more = {"x-debug-query-block-graph"}
    return qemu


def looked(qemu: Sheet, end: End, *leave: Belonging) -> tuple[list[str], list[Exception]]:
    """What was found at ``end``, and the error with which the look has ended."""
    checklist, failed = Checklist(), []
    done: Deferred[Any]
    if end is End.SOURCE:
        done = Deferred.fromCoroutine(note_obstacles_to_leaving(checklist, qemu, (DISK,), frozenset(leave)))
    else:
        done = Deferred.fromCoroutine(note_obstacles_to_arriving(checklist, qemu, (DISK,)))
    done.addErrback(lambda failure: failed.append(failure.value))
    assert done.called
    return [f"{one.level.value} {one.check}: {one}" for one in checklist.findings], failed


@pytest.mark.parametrize("end", End)
def test_nothing_stands_in_the_way(end: End) -> None:
    assert looked(sheet("events", "xbzrle"), end) == (NOTHING[end], [])


def test_all_of_it_is_told_at_once() -> None:
    jobs = [{"id": "vda", "type": "backup", "status": "running"}]
    qemu = sheet("multifd", "block", query_jobs=jobs, query_named_block_nodes=SNAPSHOT)
    lines, failed = looked(qemu, End.SOURCE)
    assert failed == []
    assert [line.partition(": ")[0] for line in lines] == [
        *("failure capabilities", "failure capabilities"),  # block, multifd
        *("failure jobs", "failure images"),
    ]


def test_an_image_matters_only_where_it_is_left() -> None:
    qemu = sheet(query_named_block_nodes=SNAPSHOT)
    assert looked(qemu, End.SOURCE, Belonging.SNAPSHOTS)[0][-1] == (
        "warning images: disk vda: its internal snapshots stay behind (--leave-behind): before"
    )
    assert looked(qemu, End.DESTINATION)[0] == NOTHING[End.DESTINATION]


def test_bitmaps_of_the_image_are_told_as_those_that_travel() -> None:
    qemu = sheet(query_named_block_nodes=[{"node-name": "vda", "drv": "qcow2", "dirty-bitmaps": [{"name": "b0", "persistent": True}]}])
    checklist = Checklist()
    got: list[object] = []
    Deferred.fromCoroutine(note_obstacles_to_leaving(checklist, qemu, (DISK,), frozenset())).addCallback(got.append)
    assert got == [(Passenger(0, "b0", True),)]
    assert checklist.findings[-1].what == "disk vda has the bitmaps b0"


def test_what_breaks_the_stream_at_one_end_may_be_harmless_at_the_other() -> None:
    """A destination with ``compress`` on only has threads that wait; a source sends what the other end cannot read."""
    assert looked(sheet("compress"), End.DESTINATION)[0] == NOTHING[End.DESTINATION]
    assert looked(sheet("compress"), End.SOURCE)[0][0].startswith(
        "failure capabilities: QEMU at the source has the migration capability compress on: the destination cannot read compressed pages; "
    )


@pytest.mark.parametrize("end", End)
def test_a_capability_of_a_later_qemu_is_a_warning_and_nothing_is_broken(end: End) -> None:
    warning = (
        f"warning capabilities: QEMU at the {end.value} has the migration capability x-quantum on, which is unknown to nbdtun; "
        "turn it off if in doubt"
    )
    assert looked(sheet("x-quantum"), end)[0] == [warning, *NOTHING[end]]


@pytest.mark.parametrize("end", End)
def test_a_parameter_that_changes_the_streams_form(end: End) -> None:
    lines = looked(sheet(query_migrate_parameters={"tls-creds": "tls0", "mode": "normal"}), end)[0]
    assert lines[0].startswith(f"failure capabilities: QEMU at the {end.value} has the migration parameter tls-creds set to tls0: ")
    assert lines[1:] == NOTHING[end][1:]


@pytest.mark.parametrize(("end", "where"), [(End.SOURCE, ""), (End.DESTINATION, " at the destination")])
def test_a_backing_file_is_a_part_of_its_disk(end: End, where: str) -> None:
    """As the graph tells; a QEMU that does not tell it is not refused, and the user is the whole machine's."""
    exports = [{"id": "pull", "type": "nbd", "node-name": "base"}]
    qemu = sheet(query_block_exports=exports)
    assert looked(qemu, end)[0][1].startswith(f"failure jobs: disk vda{where}: the nbd export 'pull' serves it")
    qemu.more = set()
    assert looked(qemu, end)[0][1].startswith(f"failure jobs: QEMU at the {end.value}: the nbd export 'pull' serves it")


@pytest.mark.parametrize("command", ["query-migrate-capabilities", "query-jobs", "x-debug-query-block-graph"])
@pytest.mark.parametrize("end", End)
def test_a_qemu_that_is_gone_is_no_obstacle_but_an_error(end: End, command: str) -> None:
    qemu = sheet(**{command: MonitorLost("web1: QEMU closed its monitor")})
    lines, failed = looked(qemu, end)
    assert [type(error) for error in failed] == [MonitorLost]
    assert isinstance(failed[0], MonitorError)
    assert not any(line.startswith("failure") for line in lines)


@pytest.mark.parametrize("end", End)
def test_it_asks_and_changes_nothing(end: End) -> None:
    qemu = sheet()
    looked(qemu, end)
    assert all("query" in command for command in qemu.asked)
