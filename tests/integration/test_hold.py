"""`nbdtun migrate --hold`, `--switchover`, and `nbdtun set VM --switchover`: the operator decides the moment."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.disks import MIB
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qemu import Build
from tests.integration.outcome import arrived, stayed, undisturbed

SMALL = Plan(16 * MIB)
#: KiB of RAM: enough to stop within; for the kind of number see `lab.qemu.MEMORY`.
LARGE = (320 << 10) + 8
CONNECTIONS = 2
#: The same with so many connections, each of which has buffers of its own.
LARGER = (640 << 10) + 8


@pytest.fixture(params=["native", "recent"])
def build(request: pytest.FixtureRequest) -> Build:
    found: Build = request.getfixturevalue(f"{request.param}_qemu")
    return found


def held(crossing: Crossing, *options: str) -> Attempt:
    """One whose memory has gone as far as it can; its guest runs."""
    source = crossing.pair.source
    source.wait_ticks(3)
    attempt = crossing.migrate("--hold", *options)
    attempt.wait_phase("holding")
    source.wait_ticks(2)
    assert attempt.last["phase"] == "holding"
    return attempt


def memory(crossing: Crossing) -> dict[str, Any]:
    """How far QEMU's migration is."""
    told = crossing.pair.source.qmp("query-migrate")
    assert told["status"] == "active"
    ram: dict[str, Any] = told["ram"]
    assert ram["dirty-sync-count"] == 1
    assert ram["remaining"] > 0
    return ram


def goes_on(crossing: Crossing, attempt: Attempt) -> None:
    told = crossing.command("set", VM, "--switchover", "now")
    assert told.returncode == 0, told.stderr
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)


def test_one_is_held_until_it_is_told(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, memory=LARGE))
    attempt = held(crossing)
    assert memory(crossing)["remaining"] < 180 * MIB
    (line,) = crossing.command("status").stdout.splitlines()
    assert line.startswith(f"{VM} (pid {attempt.pid}): holding until told; vda 100 % of ")
    assert re.search(r"; memory at least [\d.]+ MiB behind", line)
    later = datetime.now() + timedelta(hours=2)
    assert "holding until" in crossing.command("set", VM, "--switchover", f"{later:%H:%M}").stdout
    assert attempt.running()
    memory(crossing)
    goes_on(crossing, attempt)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("--connections", f"{CONNECTIONS}"), ("--converge", "auto-converge,downtime,write-blocking")], ids=str
)
@pytest.mark.parametrize("seconds", [1.0, 6.0])
def test_a_cut_while_it_is_held(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], guest: Guest, build: Build, options: tuple[str, ...], seconds: float
) -> None:
    """Its guest changes memory all the time."""
    pair = pairs(SMALL, behaves=replace(guest, ram=8), builds=(build, build), memory=LARGER)
    crossing = crossings(pair, cable=True, options=["--link-timeout", "2s"])
    attempt = held(crossing, *options)
    crossing.cable.pull(seconds)
    wait(lambda: attempt.last["link"]["outages"], 30, "the outage", attempt)
    time.sleep(1)
    assert attempt.last["phase"] == "holding"
    memory(crossing)
    goes_on(crossing, attempt)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--connections", f"{CONNECTIONS}")], ids=str)
def test_one_that_is_held_is_cancelled(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build, options: tuple[str, ...]
) -> None:
    pair = pairs(SMALL, builds=(build, build), memory=LARGER)
    crossing = crossings(pair)
    attempt = held(crossing, *options)
    memory(crossing)
    assert crossing.command("cancel", VM).returncode == 0
    assert attempt.wait_exit(60) == 130, attempt.log()
    undisturbed(pair)
    wait(lambda: pair.destination.state() == "gone", 60, "the end of the destination's QEMU")
    stayed(crossing)
    pair.renew_destination()
    again = crossing.migrate(*options)
    assert again.wait_exit(120) == 0, again.log()
    arrived(crossing)


@pytest.mark.slow
def test_a_paused_guest_is_held_as_well(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build) -> None:
    """Nothing of its memory changes: QEMU would have nothing left after its first pass."""
    pair = pairs(SMALL, builds=(build, build), memory=LARGE)
    pair.source.wait_ticks(3)
    pair.source.qmp("stop")
    crossing = crossings(pair)
    attempt = crossing.migrate("--hold")
    attempt.wait_phase("holding")
    time.sleep(5)
    before = memory(crossing)["remaining"]
    time.sleep(5)
    assert memory(crossing)["remaining"] == before
    assert crossing.command("set", VM, "--switchover", "now").returncode == 0
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert pair.destination.status() == "paused"


@pytest.mark.slow
@pytest.mark.parametrize("memory", [{}, {"memory": LARGE}], ids=["little", "much"])
def test_one_is_switched_over_at_its_time(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], memory: dict[str, int]) -> None:
    crossing = crossings(pairs(SMALL, **memory))
    crossing.pair.source.wait_ticks(3)
    moment = datetime.now().replace(microsecond=0) + timedelta(seconds=20)
    attempt = crossing.migrate("--switchover", f"{moment:%H:%M:%S}")
    attempt.wait_phase("holding")
    assert attempt.last["switchover_at"] == moment.timestamp()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert next(report["time"] for report in attempt.reports() if report["phase"] == "switchover") > moment.timestamp()
    arrived(crossing)
