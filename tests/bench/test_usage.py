"""What processes have used, read from a `/proc` on paper, and once from the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import usage
from bench.usage import MIB, Stat

TICKS = os.sysconf("SC_CLK_TCK")


def process(
    proc: Path, pid: int, parent: int, *, own: int = 0, waited: int = 0, peak: int | None = None, sleeps: tuple[int, ...] = ()
) -> None:
    """One process, with a name that is hard to read."""
    folder = proc / f"{pid}"
    (folder / "task").mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} (a) b (c) S {parent} 1 1 0 -1 0 0 0 0 0 {own} 0 {waited} 0 20 0 1 0 0 0 0\n")
    (folder / "status").write_text("Name:\ta\n" + (f"VmHWM:\t{peak} kB\nVmRSS:\t{peak // 2} kB\n" if peak is not None else ""))
    for thread, count in enumerate(sleeps):
        (folder / "task" / f"{pid + thread}").mkdir()
        (folder / "task" / f"{pid + thread}" / "status").write_text(f"voluntary_ctxt_switches:\t{count}\nnonvoluntary_ctxt_switches:\t9\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """An end that forks, as socat does: 10 has a child, and that one has one; 20 is a stranger."""
    process(tmp_path, 10, 1, own=TICKS, waited=2 * TICKS, peak=1024, sleeps=(5, 6))
    process(tmp_path, 11, 10, own=4 * TICKS, peak=2048, sleeps=(7,))
    process(tmp_path, 12, 11, own=8 * TICKS)
    process(tmp_path, 20, 1, own=100 * TICKS, peak=1 << 20, sleeps=(1000,))
    (tmp_path / "self").mkdir()
    return tmp_path


def test_the_living_and_the_dead_children_are_counted(proc: Path) -> None:
    assert usage.cpu_seconds(10, proc) == 1 + 2 + 4 + 8
    assert usage.cpu_seconds(11, proc) == 4 + 8


def test_memory_is_that_of_all_and_a_zombie_has_none(proc: Path) -> None:
    assert usage.peak_rss(10, proc) == 3 * MIB
    assert usage.rss(10, proc) == 3 * MIB // 2


def test_wakeups_are_those_of_all_threads(proc: Path) -> None:
    assert usage.wakeups(10, proc) == 5 + 6 + 7


def test_a_process_that_is_gone_has_used_nothing(proc: Path) -> None:
    assert usage.family(99, proc) == {}
    assert usage.cpu_seconds(99, proc) == usage.peak_rss(99, proc) == 0


def test_a_command_may_hold_parentheses_and_blanks() -> None:
    text = "7 (x) S 1 (y) R 3 1 1 0 -1 0 0 0 0 0 11 22 33 44 20 0 1 0 0 0 0"
    assert Stat.parse(text) == Stat(parent=3, own=33, waited=77)


def test_a_real_child_s_time_is_there_when_it_is_dead() -> None:
    spin = "import time; end = time.process_time() + 0.1\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        assert usage.cpu_seconds(parent.pid) >= 0.1
        assert usage.peak_rss(parent.pid) > MIB
        parent.stdin.close()
