"""`make drain`: a host of many small VMs is emptied while all that can fail fails, and the VMs come home again.

The cable is pulled, the daemon of a destination is killed, migrations are killed, and the engine is killed at random moments and
resumed. Then every VM must run exactly once, with every tick on its disks. The seed is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab import guest
from lab.booted import Booted
from lab.crossing import certificates
from lab.fleet import Fleet, Run
from lab.process import marked, wait

LIMIT = 1800
"""Seconds for one evacuation."""


@dataclass
class Trouble:
    """What befalls one evacuation, by its seed."""

    fleet: Fleet
    chance: random.Random
    kills: int
    done: Counter[str] = field(default_factory=Counter)

    def engine(self) -> Run:
        """Kill the engine and resume it, again and again; the run that comes to its end."""
        run = self.fleet.evacuate("--retry-pause", "1s", "--retries", "8", "--copying", "3")
        for _ in range(self.kills):
            end = time.monotonic() + self.chance.uniform(1, 12)
            while time.monotonic() < end:
                if not run.running():
                    return run
                self.fleet.tend()
                time.sleep(0.05)
            run.kill()
            self.done["engine killed"] += 1
            run = self.fleet.resume()
        return run

    def rage(self, over: threading.Event) -> None:
        """All else, meanwhile."""
        deeds = [self.pull, self.kill_daemon, self.pull, *[self.kill_migration] * 3]
        self.chance.shuffle(deeds)
        for deed in deeds:
            if over.wait(self.chance.uniform(3, 15)):
                return
            deed()
            self.done[deed.__name__.replace("_", " ")] += 1

    def pull(self) -> None:
        for cable in self.fleet.cables:
            cable.pull(self.chance.uniform(0.5, 3))

    def kill_daemon(self) -> None:
        number = self.chance.randrange(len(self.fleet.daemons))
        self.fleet.daemons[number].kill()
        time.sleep(self.chance.uniform(0.5, 3))
        self.fleet.start_daemon(number)

    def kill_migration(self) -> None:
        """One of those that run just now, whatever it does."""
        running = [pid for pid, command in marked().items() if " nbdtun migrate " in command]
        if running:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(running), signal.SIGKILL)


def drain(directory: Path, booted: Booted, tls: Path, seed: str, count: int, kills: int) -> tuple[list[str], Counter[str]]:
    """One host, emptied and filled again; what went wrong, none for all well, and what has befallen it."""
    chance = random.Random(seed)
    with Fleet(directory, guest.build(), booted, tls, count, cable=True) as fleet:
        trouble, over = Trouble(fleet, chance, kills), threading.Event()
        weather = threading.Thread(target=trouble.rage, args=(over,))
        weather.start()
        try:
            run = trouble.engine()
            wait(lambda: not (fleet.tend() or run.running()), LIMIT, "the end of the evacuation")
            status = run.wait_exit()
        finally:
            over.set()
            weather.join()
        if status:
            return [f"exit status {status}: {run.log().strip()}", *fleet.faults(_moved(run))], trouble.done
        faults = fleet.faults()
        return faults or _home(fleet), trouble.done


def _moved(run: Run) -> set[str]:
    return {vm for vm, state in run.states().items() if state == "moved"}


def _home(fleet: Fleet) -> list[str]:
    """Bring all of them home; what is wrong with them there."""
    report = fleet.directory / "report.json"
    told = fleet.resume("--report", f"{report}")  # nothing is left to do but to tell
    if told.wait_exit(LIMIT):
        return [f"the report: {told.log().strip()}"]
    fleet.turn()
    back = fleet.evacuate("--restore", f"{report}")
    if status := back.wait_exit(LIMIT):
        return [f"exit status {status} on the way home: {back.log().strip()}"]
    return fleet.faults()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.drain", description=__doc__)
    parser.add_argument("--vms", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10, help="how often the engine is killed in a round")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.rounds} rounds of {options.vms} VMs", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="nt-drain-", dir="/tmp") as name:
        tls, booted = certificates(Path(name) / "tls"), Booted(Path(name))
        for number in range(1, options.rounds + 1):
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as place:
                faults, done = drain(Path(place), booted, tls, f"{options.seed} {number}", options.vms, options.kills)
            failed += bool(faults)
            print(f"{number:3}: {time.monotonic() - began:6.1f} s, {dict(done)}: {'; '.join(faults) or 'all once, and whole'}", flush=True)
    print(f"{options.rounds - failed} of {options.rounds} rounds without a fault, seed {options.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
