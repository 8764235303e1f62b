"""Waits whose end does not come, with real QEMUs: a limit of time ends each of them, and so does its operator."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan

SMALL = Plan(16 * MIB)
Maker = Callable[..., Pair]


#: What is left to be sent when the guest is paused: less than the tunnel holds, so that only its arrival is waited for; or more, and QEMU
#: itself waits, deaf to its monitor.
LITTLE, MUCH = ["--bandwidth", "16MiB"], ["--window", "64KiB"]


@contextmanager
def deaf(pair: Pair, crossings: Callable[..., Crossing], *options: str) -> Iterator[tuple[Crossing, Attempt]]:
    """The last of the memory is being sent, and the destination's QEMU takes nothing in any more; the guest stands still."""
    with Gate(pair.directory / "gate.qmp", pair.source.qmp_path, "migrate-continue") as gate:
        crossing = crossings(pair, qmp=(gate.path, pair.destination.qmp_path))
        attempt = crossing.migrate(*options)
        gate.wait_held()
        pair.destination.signal(signal.SIGSTOP)
        gate.open()
        time.sleep(1)
        assert attempt.running()
        assert attempt.last["phase"] == "switchover"
        yield crossing, attempt


@pytest.mark.parametrize("left", [LITTLE, MUCH], ids=["little", "much"])
def test_the_switchovers_limit_ends_it(pairs: Maker, crossings: Callable[..., Crossing], left: list[str]) -> None:
    pair = pairs(SMALL)
    with deaf(pair, crossings, *left, "--timeout", "switchover=3s") as (_, attempt):
        assert attempt.wait_exit(60) == 1
    assert attempt.last["phase"] == "failed"
    assert "within 3 s" in attempt.complaints()[-1]
    assert pair.disturbance() == []


@pytest.mark.parametrize("left", [LITTLE, MUCH], ids=["little", "much"])
@pytest.mark.parametrize("way", ["SIGTERM", "cancel"])
def test_its_operator_ends_it(pairs: Maker, crossings: Callable[..., Crossing], way: str, left: list[str]) -> None:
    pair = pairs(SMALL)
    with deaf(pair, crossings, *left) as (crossing, attempt):
        if way == "cancel":
            assert crossing.command("cancel", VM).returncode == 0
        else:
            attempt.signal(signal.SIGTERM)
        assert attempt.wait_exit(60) == 130
    assert attempt.last["phase"] == "cancelled"
    assert pair.disturbance() == []
