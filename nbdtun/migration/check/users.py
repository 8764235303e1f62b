"""
Other users of a disk or of the machine: a migration would cut them off, or they prevent it.

QEMU facts (7.2 and 10.0): a mirror is refused on a disk with another job on it (``Need a root block node``), as that has put a filter above
it; and no image can be handed over while another user has the right to write to it. A throttle filter limits a mirror like the guest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from nbdtun.errors import NotMigratable
from nbdtun.migration.catalogue import THROTTLED, USED
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Check
from nbdtun.migration.ids import PREFIX
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.graph import Graph

_ENDED = frozenset({"concluded", "null"})
_THROTTLE = "throttle"


async def note_users(checklist: Checklist, monitor: Monitor, end: End, disks: Iterable[Disk], graph: Graph) -> None:
    """Add findings about all other users of ``disks`` at ``end``."""
    nicknames = {disk.node: disk.nickname for disk in disks}
    found = [error async for error in _users(monitor, end, nicknames, graph)]
    for error in found:
        checklist.add(USED.of(error))
    if not found:
        checklist.ok(Check.JOBS, f"no job, export or dump is in the way at the {end.value}")
    for disk in disks:
        if disk.format == _THROTTLE:
            what = f"disk {disk.nickname}{_at(end)}: its throttle filter {disk.node} also limits the copy"
            checklist.add(THROTTLED(what))


async def _users(monitor: Monitor, end: End, nicknames: dict[str, str], graph: Graph) -> AsyncIterator[NotMigratable]:
    def owner(user: str) -> str:
        """The disk that ``user`` uses, as the beginning of a sentence."""
        root = graph.root_of(user, nicknames)
        return f"QEMU at the {end.value}" if root is None else f"disk {nicknames[root]}{_at(end)}"

    for job in await monitor.execute("query-jobs"):
        if not job["id"].startswith(PREFIX) and job.get("status") not in _ENDED:
            yield _job(job, owner(job["id"]))
    for export in await monitor.execute("query-block-exports"):
        if not export["id"].startswith(PREFIX):
            kind = export.get("type", "block")
            what = f"{owner(export.get('node-name', ''))}: the {kind} export {export['id']!r} serves it to another client"
            yield NotMigratable(what, "remove it with block-export-del")
    if await monitor.has("query-dump") and (await monitor.execute("query-dump"))["status"] == "active":
        yield NotMigratable(f"QEMU at the {end.value}: a dump of the guest's memory is being written", "wait for it")


def _job(job: dict[str, Any], owner: str) -> NotMigratable:
    cancel = "job-cancel" if job.get("type", "").startswith("snapshot-") else "block-job-cancel"
    return NotMigratable(f"{owner}: the job {job['id']!r} ({job.get('type', 'job')}) runs on it", f"wait for it, or end it with {cancel}")


def _at(end: End) -> str:
    return f" at the {end.value}" if end is End.DESTINATION else ""
