"""`make drain`: a host of many small VMs is emptied while all that can fail fails, and the VMs come home again.

All of it goes over a line of 50 MB/s. Three VMs fail in chosen phases: while disks are copied, while memory is, and when the guest switches
over. The cable is pulled, the daemon of a destination is killed, migrations are killed, and the engine is killed at random moments and
resumed. Then every VM must run exactly once, with every tick on its disks. On the way home nothing fails. The seed is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from lab import guest
from lab.booted import Booted
from lab.crossing import certificates
from lab.disks import MIB
from lab.fleet import Fleet, Run
from lab.misfortune import Misfortune
from lab.pair import Plan
from lab.process import wait
from lab.tracing import traced

RATE = 50_000_000
"""The line's bytes a second, in each direction."""

PLANS = [Plan(size * MIB, filled=1.0) for size in (64, 96, 128)]
"""The disks of the VMs, in turn."""

OPTIONS = ("--retry-pause", "1s", "--retries", "8", "--copying", "3")
TICK_MS = 1000
"""The pause between two ticks of a guest: without KVM, a guest that ticks often takes a twelfth of a processor, and twenty take all."""

WINDOW = ("--resume-window", "30s")
"""Of both daemons. They share the QEMUs that wait: the second one gets a VM when the first has given up a source that was killed."""

LIMIT = 800
"""Seconds for one evacuation."""


@dataclass
class Way:
    """One evacuation as it was: what went wrong, none for all well; the seconds that it took, the bytes that went over the line, and the
    downtimes in milliseconds."""

    faults: list[str]
    seconds: float
    passed: int
    suffered: dict[str, int]
    downtimes: list[float]

    def __str__(self) -> str:
        ideal = self.passed / RATE
        took = f"{self.seconds:.1f} s for {self.passed / 1e6:.0f} MB, {self.seconds / ideal:.2f} times the line's {ideal:.1f} s"
        stood = [f"{statistics.median(self.downtimes):.0f} ms of downtime, {max(self.downtimes):.0f} at most"] if self.downtimes else []
        return "; ".join([took, *stood, *[f"{self.suffered}"] * bool(self.suffered), *(self.faults or ["all once, and whole"])])


def away(fleet: Fleet, chance: random.Random, options: argparse.Namespace) -> Way:
    """The host is emptied."""
    began = time.monotonic()
    trouble, over = Misfortune(fleet, chance), threading.Event()
    troubles = [] if options.calm else [trouble.rage, trouble.choose]
    weather = [threading.Thread(target=each, args=(over,)) for each in troubles]
    for each in weather:
        each.start()
    try:
        with traced(fleet, options.trace):
            run = trouble.engine(0 if options.calm else options.kills, OPTIONS)
            wait(lambda: not (fleet.tend() or run.running()), LIMIT, "the end of the evacuation")
            status = run.wait_exit()
            seconds = time.monotonic() - began
    finally:
        over.set()
        for each in weather:
            each.join()
    moved = {vm for vm, state in run.states().items() if state == "moved"}
    failed = [f"exit status {status}: {run.log().strip()}"] if status else []
    return Way([*failed, *fleet.faults(moved if status else None)], seconds, passed(fleet), dict(trouble.done), downtimes(run))


def home(fleet: Fleet, options: argparse.Namespace) -> Way:
    """All of them come home."""
    report, again = fleet.directory / "report.json", fleet.directory / "home.json"
    told = fleet.resume("--report", f"{report}")  # nothing is left to do but to tell
    if told.wait_exit(LIMIT):
        return Way([f"the report: {told.log().strip()}"], 0, 1, {}, [])
    fleet.turn()
    began = time.monotonic()
    back = fleet.evacuate("--restore", f"{report}", "--report", f"{again}", *OPTIONS)
    with traced(fleet, options.trace):
        wait(lambda: bool(back.states()) or not back.running(), LIMIT, "the plan", back)
        planned = time.monotonic() - began
        status = back.wait_exit(LIMIT)
    seconds = time.monotonic() - began
    failed = [f"exit status {status} on the way home: {back.log().strip()}"] if status else out_of_order(report, again)
    print(f"  home: its plan was made within {planned:.1f} s", flush=True)
    failed += [f"at one time {' and '.join(vms)} switched over" for vms in back.crowds()]
    return Way([*failed, *fleet.faults()], seconds, passed(fleet), {}, downtimes(back))


def out_of_order(report: Path, again: Path) -> list[str]:
    """What is wrong with the order in which the VMs have come home."""
    order = [vm["vm"] for vm in json.loads(report.read_text())["vms"]]
    begun = sorted(json.loads(again.read_text())["vms"], key=lambda vm: vm["began"])
    return [] if [vm["vm"] for vm in begun] == order else [f"they came home as {begun}, and left as {order}"]


def downtimes(run: Run) -> list[float]:
    """Those of the VMs that have moved, as far as they are known: a process that was killed has told none."""
    return [vm["downtime_ms"] for vm in run.last["vms"] if vm["downtime_ms"] is not None]


def passed(fleet: Fleet) -> int:
    """Bytes that have left the host so far."""
    assert fleet.cable is not None
    return fleet.cable.counters().up


def drain(directory: Path, booted: Booted, tls: Path, seed: str, options: argparse.Namespace) -> list[Way]:
    """One host, emptied and filled again."""
    with Fleet(
        directory, replace(guest.build(), tick_ms=TICK_MS), booted, tls, options.vms, PLANS, rate=RATE, daemon_options=WINDOW
    ) as fleet:
        ways = [away(fleet, random.Random(seed), options)]
        print(f"  away: {ways[0]}", flush=True)
        if not ways[0].faults:
            ways.append(home(fleet, options))
            print(f"  home: {ways[1]}", flush=True)
        return ways


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.drain", description=__doc__)
    parser.add_argument("--vms", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="the number of the first round")
    parser.add_argument("--kills", type=int, default=10, help="how often the engine is killed in a round")
    parser.add_argument("--calm", action="store_true", help="nothing fails")
    parser.add_argument("--trace", action="store_true", help="print each second what the line carries")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.rounds} rounds of {options.vms} VMs, there and home again", flush=True)
    good = failed = 0
    with tempfile.TemporaryDirectory(prefix="nt-drain-", dir="/tmp") as name:
        tls, booted = certificates(Path(name) / "tls"), Booted(Path(name))
        for number in range(options.first, options.first + options.rounds):
            print(f"round {number}", flush=True)
            with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as place:
                ways = drain(Path(place), booted, tls, f"{options.seed} {number}", options)
            failed += any(way.faults for way in ways)
            good += sum(options.vms for way in ways if not way.faults)
    of = 2 * options.vms * options.rounds
    print(f"{good} of {of} migrations, {options.rounds - failed} of {options.rounds} rounds without a fault, seed {options.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
