"""Waits whose end does not come, with real QEMUs: a limit of time ends each of them, and so does its operator."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Literal

import pytest
from attrs import frozen

from lab.crossing import VM, Attempt, Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.guest import Guest
from lab.pair import Pair, Plan

SMALL = Plan(16 * MIB)
End = Literal["source", "destination"]
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


@pytest.mark.parametrize(
    "left", [pytest.param(LITTLE, id="little", marks=pytest.mark.slow), pytest.param(MUCH, id="much", marks=pytest.mark.slow)]
)
def test_the_switchovers_limit_ends_it(pairs: Maker, crossings: Callable[..., Crossing], left: list[str]) -> None:
    pair = pairs(SMALL)
    with deaf(pair, crossings, *left, "--timeout", "switchover=3s") as (_, attempt):
        assert attempt.wait_exit(60) == 1
    assert attempt.last["phase"] == "failed"
    assert re.search(r"\b3(\.0)? s\b", attempt.complaints()[-1])  # whichever of its two clocks is first: the wait's, or the phase's
    assert pair.disturbance() == []


@pytest.mark.parametrize(
    ("way", "left"),
    [
        pytest.param("SIGTERM", LITTLE, id="SIGTERM-little", marks=pytest.mark.slow),
        pytest.param("cancel", LITTLE, id="cancel-little", marks=pytest.mark.slow),
        pytest.param("SIGTERM", MUCH, id="SIGTERM-much", marks=pytest.mark.slow),
        pytest.param("cancel", MUCH, id="cancel-much", marks=pytest.mark.slow),
    ],
)
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


@frozen
class Hang:
    """One wait of the table, hung in ``phase``: a command of one end's monitor is lost, or that end's QEMU stops there."""

    wait: str
    phase: str
    end: End
    command: str
    stops: bool = False

    def __str__(self) -> str:
        return f"{self.wait}-{self.phase}"


HANGS = (
    Hang("command", "prepare", "source", "query-block"),
    Hang("answer", "prepare", "destination", "nbd-server-start"),
    Hang("command", "mirror", "source", "blockdev-mirror"),
    Hang("connect", "mirror", "source", "blockdev-add", stops=True),
    Hang("sync", "mirror", "source", "blockdev-mirror", stops=True),
    Hang("command", "ready", "source", "migrate-set-parameters"),
    Hang("answer", "ready", "destination", "migrate-incoming"),
    Hang("command", "ram", "source", "migrate"),
    Hang("memory", "ram", "source", "migrate", stops=True),
    Hang("writes", "switchover", "source", "block-job-cancel", stops=True),
    Hang("command", "switchover", "source", "migrate-continue"),
    Hang("arrival", "switchover", "source", "migrate-continue", stops=True),
)

#: What ends them: the options that the migration gets, and its status.
ENDERS = {"phase": 1, "total": 1, "stall": 1, "SIGTERM": 130, "cancel": 130, "monitor": 1}

QUICK = {
    ("command-prepare", "total", False),
    ("command-mirror", "monitor", False),
    ("connect-mirror", "SIGTERM", True),
    ("answer-ready", "cancel", False),
    ("command-switchover", "SIGTERM", True),
    ("writes-switchover", "phase", True),
}


def cases() -> Iterator[object]:
    for hang in HANGS:
        for ender in ENDERS:
            for gone in (False, True):
                if ender == "stall" and (gone or not hang.stops):
                    continue  # no stall: the link is not up, or nothing is copied
                marks = [] if (f"{hang}", ender, gone) in QUICK else [pytest.mark.slow]
                yield pytest.param(hang, ender, gone, id=f"{hang}-{ender}-{'gone' if gone else 'up'}", marks=marks)


def limits(hang: Hang, ender: str) -> list[str]:
    return {"phase": ["--timeout", f"{hang.phase}=4s"], "total": ["--timeout", "8s"], "stall": ["--stall-timeout", "4s"]}.get(ender, [])


@pytest.mark.parametrize(("hang", "ender", "gone"), list(cases()))
def test_a_wait_is_ended(pairs: Maker, crossings: Callable[..., Crossing], hang: Hang, ender: str, gone: bool) -> None:
    """Where both QEMUs answer and the operator ends it, all is rolled back within 5 s."""
    pair = pairs(SMALL)
    with ExitStack() as ended:
        ends = {"source": pair.source, "destination": pair.destination}
        gates = {
            name: ended.enter_context(Gate(pair.directory / f"{name}.gate", vm.qmp_path, hang.command, loses=not hang.stops))
            if name in (hang.end, "source")
            else None
            for name, vm in ends.items()
        }
        paths = {name: gate.path if gate else ends[name].qmp_path for name, gate in gates.items()}
        crossing = crossings(pair, qmp=(paths["source"], paths["destination"]), cable=True)
        attempt = crossing.migrate(*limits(hang, ender))
        gate = gates[hang.end]
        assert gate is not None
        gate.wait_held()
        if hang.stops:
            pair.destination.signal(signal.SIGSTOP)
            gate.open()
        if gone:
            crossing.cable.pull()
        if ender in ("SIGTERM", "cancel", "monitor"):
            time.sleep(1)
            assert attempt.running(), attempt.log()
            assert attempt.last["phase"] == hang.phase
        if ender == "SIGTERM":
            attempt.signal(signal.SIGTERM)
        elif ender == "cancel":
            assert crossing.command("cancel", VM).returncode == 0
        elif ender == "monitor":
            assert gates["source"] is not None
            gates["source"].drop()
        struck = time.time()  # and not before: on a busy machine the command itself takes seconds to start
        assert attempt.wait_exit(60) == ENDERS[ender], attempt.log()
        if not hang.stops and ENDERS[ender] == 130:
            assert attempt.last["time"] - struck < 5
        assert attempt.last["phase"] == ("cancelled" if ENDERS[ender] == 130 else "failed")
        assert "Traceback" not in attempt.log()
        assert pair.disturbance() == []


@pytest.mark.parametrize("times", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_a_destination_qemu_that_dies_does_not_hold_the_guest(
    pairs: Maker, crossings: Callable[..., Crossing], guest: Guest, times: int
) -> None:
    """The guest writes to its disk all the while, so that requests are under way when their connection ends."""
    pair = pairs(Plan(80 * MIB), behaves=replace(guest, disk=8))
    pair.source.wait_ticks(5)
    for _ in range(times):
        crossing = crossings(pair)
        attempt = crossing.migrate("--bandwidth", "64MiB")
        attempt.wait_phase("ram")
        pair.destination.kill()
        longest = 0.0
        while attempt.running():
            asked = time.monotonic()
            pair.source.qmp("query-status")
            longest = max(longest, time.monotonic() - asked)
            time.sleep(0.01)
        assert attempt.wait_exit() == 1, attempt.log()
        assert longest < 1, attempt.log()
        assert pair.disturbance() == []
        crossing.leftovers()
        pair.renew_destination()
