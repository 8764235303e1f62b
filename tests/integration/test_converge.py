"""A guest that changes its disk or its memory faster than the link carries: what ends its migration, and what lets it arrive."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from lab.crossing import Attempt, Crossing
from lab.disks import MIB
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qemu import Build
from tests.integration.outcome import arrived

PLAN = Plan(80 * MIB)


@pytest.fixture
def outrun(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], guest: Guest) -> Callable[..., tuple[Crossing, Attempt]]:
    """Begins to move a guest that changes so many MiB a second over a link that carries less: `outrun("disk", 20, 6, [...])`."""

    def begin(what: str, rate: int, link: int, options: Sequence[str], build: Build | None = None) -> tuple[Crossing, Attempt]:
        changes: dict[str, Any] = {what: rate}
        pair = pairs(PLAN, behaves=replace(guest, **changes), builds=(build, build))
        pair.source.wait_ticks(10)
        crossing = crossings(pair, cable=True)
        crossing.cable.slow(link * MIB)
        return crossing, crossing.migrate(*options)

    return begin


def ended(crossing: Crossing, attempt: Attempt, code: str) -> str:
    """It has failed, with that code; the guest runs on, and nothing is left. The line that says why."""
    assert attempt.wait_exit(150) == 1, attempt.log()
    assert (attempt.last["phase"], attempt.last["code"]) == ("failed", code)
    assert crossing.pair.disturbance() == []
    if crossing.pair.destination.running():
        wait(lambda: crossing.pair.destination.leftovers() == [], 30, "the destination's rollback")
    assert crossing.leftovers() == []
    return attempt.complaints()[-1]


def moved(crossing: Crossing, attempt: Attempt) -> None:
    assert attempt.wait_exit(150) == 0, attempt.log()
    arrived(crossing)


@pytest.mark.slow
def test_a_disk_that_does_not_converge_ends_in_time(outrun: Callable[..., tuple[Crossing, Attempt]]) -> None:
    crossing, attempt = outrun("disk", 20, 4, ["--timeout", "mirror=25s"])
    line = ended(crossing, attempt, "timeout")
    assert "phase mirror took longer than 25 s (--timeout mirror=)" in line
    assert "--converge" in line


@pytest.mark.parametrize("which", ["native", pytest.param("recent", marks=pytest.mark.slow)])
def test_a_disk_converges_when_its_guest_waits(
    outrun: Callable[..., tuple[Crossing, Attempt]], request: pytest.FixtureRequest, which: str
) -> None:
    """7.2 begins so; 10.0 changes the running mirror, as soon as it gets no closer to its end."""
    build = request.getfixturevalue(f"{which}_qemu")
    crossing, attempt = outrun("disk", 20, 6, ["--timeout", "120s", "--converge", "write-blocking"], build)
    attempt.wait_phase("ram", 120)
    crossing.cable.plug()
    moved(crossing, attempt)
    first = next(report for report in attempt.reports() if report["disks"] and report["elapsed"] > 1)
    assert first["converge"]["write_blocking"] == (["vda"] if build.version < (8, 2) else [])
    assert attempt.last["converge"]["write_blocking"] == ["vda"]


@pytest.mark.slow
def test_a_disk_is_forced(outrun: Callable[..., tuple[Crossing, Attempt]]) -> None:
    crossing, attempt = outrun("disk", 20, 6, ["--timeout", "mirror=10s", "--on-timeout", "force"])
    wait(lambda: crossing.pair.source.status() == "paused", 60, "the force", attempt)
    attempt.wait_phase("ram", 100)
    crossing.cable.plug()
    moved(crossing, attempt)
    assert attempt.last["downtime_ms"] > 1000
    assert "the guest is paused until the migration ends" in attempt.log()


@pytest.mark.slow
def test_a_forced_one_runs_on_when_it_is_cancelled(outrun: Callable[..., tuple[Crossing, Attempt]]) -> None:
    crossing, attempt = outrun("disk", 20, 4, ["--timeout", "5s", "--on-timeout", "force"])
    wait(lambda: crossing.pair.source.status() == "paused", 60, "the force", attempt)
    assert crossing.command("cancel", "web1").returncode == 0
    assert attempt.wait_exit(30) == 130
    assert crossing.pair.disturbance() == []


@pytest.fixture
def outrun_memory(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], guest: Guest) -> Callable[..., tuple[Crossing, Attempt]]:
    """The same for memory: the link becomes slow when that begins to be copied."""

    def begin(link: int, options: Sequence[str]) -> tuple[Crossing, Attempt]:
        pair = pairs(Plan(16 * MIB), behaves=replace(guest, ram=40))
        pair.source.wait_ticks(10)
        crossing = crossings(pair, cable=True)
        attempt = crossing.migrate("--bandwidth", "24MiB", *options)
        attempt.wait_phase("ram")
        crossing.cable.slow(link * MIB)
        return crossing, attempt

    return begin


@pytest.mark.slow
def test_memory_that_does_not_converge_ends_in_time(outrun_memory: Callable[..., tuple[Crossing, Attempt]]) -> None:
    crossing, attempt = outrun_memory(3, ["--timeout", "ram=30s"])
    assert "phase ram took longer than 30 s" in ended(crossing, attempt, "timeout")


@pytest.mark.slow
def test_memory_converges_with_help(outrun_memory: Callable[..., tuple[Crossing, Attempt]]) -> None:
    """QEMU decides which of both it takes: one that finds the guest slow enough by itself does not throttle it."""
    crossing, attempt = outrun_memory(6, ["--timeout", "140s", "--converge", "auto-converge,downtime", "--max-downtime", "20s"])
    moved(crossing, attempt)
    measures = [report["converge"] for report in attempt.reports()]
    assert max(one["throttle"] for one in measures) >= 20 or max(one["downtime_ms"] or 0 for one in measures) > 300


@pytest.mark.slow
def test_memory_is_forced(outrun_memory: Callable[..., tuple[Crossing, Attempt]]) -> None:
    crossing, attempt = outrun_memory(4, ["--timeout", "ram=10s", "--on-timeout", "force"])
    moved(crossing, attempt)
    assert attempt.last["converge"]["forced"]
    assert attempt.last["downtime_ms"] > 1000


@pytest.mark.slow
def test_a_destination_that_hangs_is_a_stall(outrun: Callable[..., tuple[Crossing, Attempt]]) -> None:
    """Its QEMU answers nothing any more; the link itself is well."""
    crossing, attempt = outrun("disk", 0, 8, ["--stall-timeout", "5s"])
    attempt.wait_copied(4 * MIB)
    crossing.pair.destination.signal(signal.SIGSTOP)
    assert attempt.wait_exit(120) == 1
    assert attempt.last["code"] == "stall", attempt.log()
    assert "no byte has moved for 5.0 s in phase mirror" in attempt.complaints()[-1]
    assert crossing.pair.disturbance() == []
