"""Who else is at work with a machine, at either end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.users import note_users
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph
from tests.migration.stage.paper import Sheet

DISK = Disk("vda", "", "vda-dev", 4096)
GRAPH = Graph({"vda": frozenset({"base"}), "nightly": frozenset({"base"})})


def told(end: End = End.SOURCE, disk: Disk = DISK, **answers: Any) -> list[str]:
    given = {name.replace("_", "-"): answer for name, answer in answers.items()}
    qemu = Sheet(Clock(), {"query-jobs": [], "query-block-exports": [], **given})
    qemu.more = {"query-dump"} & given.keys()
    checklist = Checklist()
    done = Deferred.fromCoroutine(note_users(checklist, qemu, end, [disk], GRAPH))
    assert done.called
    return [f"{finding.level.value} {finding}" for finding in checklist.findings]


def test_nobody() -> None:
    ours = [{"id": "nbdtun-1234-0", "type": "mirror", "status": "running"}, {"id": "old", "type": "backup", "status": "concluded"}]
    assert told(query_jobs=ours, query_block_exports=[{"id": "nbdtun-1234-0"}], query_dump={"status": "completed"}) == [
        "ok no job, export or dump is in the way at the source"
    ]


@pytest.mark.parametrize(("end", "where"), [(End.SOURCE, ""), (End.DESTINATION, " at the destination")])
def test_a_job_on_a_backing_file_is_one_on_the_disk(end: End, where: str) -> None:
    jobs = [{"id": "nightly", "type": "commit", "status": "running"}]
    assert told(end, query_jobs=jobs) == [
        f"failure disk vda{where}: the job 'nightly' (commit) runs on it; wait for it, or end it with block-job-cancel"
    ]


def test_a_job_of_the_whole_machine() -> None:
    jobs = [{"id": "snap", "type": "snapshot-save", "status": "running"}]
    assert told(query_jobs=jobs) == [
        "failure QEMU at the source: the job 'snap' (snapshot-save) runs on it; wait for it, or end it with job-cancel"
    ]


def test_an_export_and_a_dump() -> None:
    exports = [{"id": "pull", "type": "nbd", "node-name": "base"}]
    assert told(query_block_exports=exports, query_dump={"status": "active"}) == [
        "failure disk vda: the nbd export 'pull' serves it to another client; remove it with block-export-del",
        "failure QEMU at the source: a dump of the guest's memory is being written; wait for it",
    ]


def test_a_throttle_filter_is_worth_a_warning() -> None:
    line = told(disk=Disk("slow", "", "vda-dev", 4096, "throttle"))[1]
    assert line.startswith(
        "warning disk slow: its throttle filter slow also limits the copy; raise the limits of its throttle-group with qom-set"
    )
