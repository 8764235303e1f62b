"""A share of a core for a process: what is written for the kernel, and that it counts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.quota import Hierarchy, held_to, hierarchy
from bench.usage import cpu_seconds

SPIN = [sys.executable, "-c", "while True: pass"]


def test_the_second_version_takes_quota_and_period_in_one_line(tmp_path: Path) -> None:
    Hierarchy(tmp_path, second=True).write(tmp_path, 0.4)
    assert (tmp_path / "cpu.max").read_text() == "8000 20000"


def test_the_first_version_takes_them_one_by_one(tmp_path: Path) -> None:
    Hierarchy(tmp_path, second=False).write(tmp_path, 0.1)
    assert [(tmp_path / f"cpu.cfs_{name}_us").read_text() for name in ("period", "quota")] == ["20000", "2000"]


def test_without_cgroups_there_is_none(tmp_path: Path) -> None:
    assert hierarchy(tmp_path) is None


def test_a_tree_of_the_second_version_needs_its_cpu_controller(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("memory pids\n")
    assert hierarchy(tmp_path) is None
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    assert hierarchy(tmp_path) == Hierarchy(tmp_path, second=True)


def test_a_process_gets_no_more_and_nothing_is_left() -> None:
    where = hierarchy()
    if where is None:
        pytest.skip("no cgroup can be made here")
    with subprocess.Popen(SPIN) as spinning:
        with held_to(0.1, spinning.pid, where):
            before, begun = cpu_seconds(spinning.pid), time.monotonic()
            time.sleep(1)
            used = (cpu_seconds(spinning.pid) - before) / (time.monotonic() - begun)
        spinning.kill()
    assert used < 0.3  # the clock's ticks are 10 ms
    assert not list(where.root.glob("nbdtun-bench-*"))
