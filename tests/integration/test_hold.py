"""`nbdtun migrate --hold`, `--switchover`, and `nbdtun set VM --switchover`: the operator decides the moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from lab.crossing import VM, Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from tests.integration.outcome import arrived

SMALL = Plan(16 * MIB)


def test_one_is_held_until_it_is_told(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL))
    source = crossing.pair.source
    source.wait_ticks(3)
    attempt = crossing.migrate("--hold")
    attempt.wait_phase("holding")
    before = source.ticks()
    time.sleep(2)
    assert attempt.last["phase"] == "holding"
    assert source.ticks() > before
    (line,) = crossing.command("status").stdout.splitlines()
    assert line.startswith(f"{VM} (pid {attempt.pid}): holding until told; vda 100 % of ")
    later = datetime.now() + timedelta(hours=2)
    assert "holding until" in crossing.command("set", VM, "--switchover", f"{later:%H:%M}").stdout
    assert attempt.running()
    told = crossing.command("set", VM, "--switchover", "now")
    assert told.returncode == 0, told.stderr
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)


@pytest.mark.slow
def test_one_is_switched_over_at_its_time(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL))
    crossing.pair.source.wait_ticks(3)
    moment = datetime.now().replace(microsecond=0) + timedelta(seconds=20)
    attempt = crossing.migrate("--switchover", f"{moment:%H:%M:%S}")
    attempt.wait_phase("holding")
    assert attempt.last["switchover_at"] == moment.timestamp()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert next(report["time"] for report in attempt.reports() if report["phase"] == "switchover") > moment.timestamp()
    arrived(crossing)
