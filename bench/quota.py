"""Quota: a process, and what it starts, has a share of a core and no more, by a cgroup of its own.

So two cores can stand for hosts that have more: who is held back is known, and the others have what they need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.process import wait

PERIOD_US = 20_000
ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Hierarchy:
    """Where cgroups are made, and how a quota is written: the first version of cgroups, or the second."""

    root: Path
    second: bool

    def write(self, group: Path, share: float) -> None:
        quota = round(PERIOD_US * share)
        if self.second:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            return
        (group / "cpu.cfs_period_us").write_text(f"{PERIOD_US}")
        (group / "cpu.cfs_quota_us").write_text(f"{quota}")


def hierarchy(root: Path = ROOT) -> Hierarchy | None:
    """The one that is here and can be written to; None if there is none."""
    first, second = root / "cpu", root / "cgroup.subtree_control"
    if (first / "cpu.cfs_quota_us").exists() or (first / "cgroup.procs").exists():
        return Hierarchy(first, second=False) if os.access(first, os.W_OK) else None
    if second.exists() and os.access(root, os.W_OK) and "cpu" in second.read_text().split():
        return Hierarchy(root, second=True)
    return None


@contextmanager
def held_to(share: float, pid: int, where: Hierarchy, *more: int) -> Iterator[None]:
    """The process `pid`, with `more`, all their threads and what they start from now on, has `share` of one core."""
    group = where.root / f"nbdtun-bench-{os.getpid()}-{pid}"
    group.mkdir()
    try:
        where.write(group, share)
        for each in (pid, *more):
            (group / "cgroup.procs").write_text(f"{each}")
        yield
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (where.root / "cgroup.procs").write_text(left)
        wait(lambda: not (group / "cgroup.procs").read_text(), 10, "an empty cgroup")
        group.rmdir()
