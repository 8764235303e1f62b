"""What befalls an evacuation, by its seed: see `drain.py`."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from lab.fleet import Fleet, Run
from lab.pair import Pair
from lab.process import wait
from lab.qmp import QmpError

PLANNING = 300
"""Seconds for a plan."""

POLL, IDLE = 0.005, 0.05
"""Seconds between two looks at a chosen VM: while its memory is sent, as a switchover is short; and before, to spare the processor."""


@dataclass
class Misfortune:
    """All that fails, and how often it did."""

    fleet: Fleet
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def engine(self, kills: int, options: Sequence[str]) -> Run:
        """Begin an evacuation, kill its engine and resume it, again and again; the run that comes to its end."""
        run = self.fleet.evacuate(*options)
        for _ in range(kills):
            end = time.monotonic() + self.chance.uniform(0.2, 5)
            while time.monotonic() < end and run.running():
                self.fleet.tend()
                time.sleep(0.05)
            if not run.running() and run.states():
                return run
            run.kill()
            self.done["engine killed"] += 1
            run = self._again(options)
        return run

    def _again(self, options: Sequence[str]) -> Run:
        """Resume it; where its plan was not made yet, there is nothing to resume."""
        run = self.fleet.resume()
        _wait_plan(run)
        if run.returncode == 2 and "there is no evacuation in the journal" in run.log():
            run = self.fleet.evacuate(*options)
            _wait_plan(run)
        return run

    def rage(self, over: threading.Event) -> None:
        """The cable, a destination and migrations, meanwhile."""
        deeds = [self.pull, self.kill_daemon, self.pull, *[self.kill_migration] * 3]
        self.chance.shuffle(deeds)
        for deed in deeds:
            if over.wait(self.chance.uniform(3, 12)):
                return
            deed()
            self.done[deed.__name__.replace("_", " ")] += 1
        over.wait()  # a daemon that this thread has started ends with it (PR_SET_PDEATHSIG is about the thread)

    def pull(self) -> None:
        assert self.fleet.cable is not None
        self.fleet.cable.pull(self.chance.uniform(0.5, 3))

    def kill_daemon(self) -> None:
        number = self.chance.randrange(len(self.fleet.daemons))
        self.fleet.daemons[number].kill()
        time.sleep(self.chance.uniform(0.5, 3))
        self.fleet.start_daemon(number)

    def kill_migration(self) -> None:
        """One of those that run just now, whatever it does."""
        running = self.fleet.migrations()
        if running:
            _kill(self.chance.choice(running))

    def choose(self, over: threading.Event) -> None:
        """Let three VMs fail, each once and in a phase of its own."""
        fates: list[tuple[str, Callable[[Pair], bool], Callable[[str], None]]] = [
            ("among its disks", _copies_disks, self._kill_process),
            ("among its memory", _copies_memory, self._kill_destination),
            ("at its switchover", _switches_over, self._kill_process),
        ]
        left = dict(zip(self.chance.sample(sorted(self.fleet.pairs), len(fates)), fates, strict=True))
        near = False
        while left and not over.wait(POLL if near else IDLE):
            near = False
            for vm, (phase, reached, fail) in [*left.items()]:
                try:
                    struck = reached(self.fleet.pairs[vm])
                    near = near or _is_sent(self.fleet.pairs[vm])
                except (OSError, QmpError):  # its QEMU has ended
                    struck, left = False, {name: fate for name, fate in left.items() if name != vm}
                if struck:
                    fail(vm)
                    self.done[f"failed {phase}"] += 1
                    left.pop(vm)

    def _kill_process(self, vm: str) -> None:
        for pid in self.fleet.migrations(vm):
            _kill(pid)

    def _kill_destination(self, vm: str) -> None:
        self.fleet.pairs[vm].destination.kill()


def _wait_plan(run: Run) -> None:
    """Wait until it has a plan, or has ended: the kills to come are for the moments after that."""
    wait(lambda: bool(run.states()) or not run.running(), PLANNING, "the plan of the evacuation")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _copies_disks(pair: Pair) -> bool:
    return any(job["offset"] > 0 for job in pair.source.qmp("query-block-jobs"))


def _copies_memory(pair: Pair) -> bool:
    told = pair.source.qmp("query-migrate")
    return bool(told.get("status") == "active" and told.get("ram", {}).get("transferred", 0) > 0)


def _is_sent(pair: Pair) -> bool:
    return pair.source.qmp("query-migrate").get("status") in ("setup", "active")


def _switches_over(pair: Pair) -> bool:
    return pair.source.qmp("query-migrate").get("status") in ("pre-switchover", "device", "completed")
