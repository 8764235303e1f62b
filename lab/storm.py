"""`make storm`: small migrations over a cable that is cut at random, from their very first byte on; each must complete.

The seed is printed. Each migration has a sequence of cuts of its own, from the seed and its number: `--first 17 --times 1` repeats one.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab import guest, ticks
from lab.booted import Booted
from lab.cable import Cable, Way
from lab.crossing import Attempt, Crossing, certificates
from lab.disks import MIB
from lab.pair import Pair, Plan

CUTS = 25
"""The most that one migration suffers: each costs a handshake, and it must come to its end."""

OPENING = 3000
"""Bytes of a TLS handshake with the command and the answer behind it."""

WAYS: tuple[Way, ...] = ("up", "down", "both")
OPTIONS = ["--link-timeout", "2s"]
LIMIT = 120
"""Seconds for one migration."""


@dataclass
class Weather:
    """Cuts the cable while a migration is under way."""

    cable: Cable
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def strike(self) -> float:
        """Do one thing; the seconds until the next."""
        deeds: list[Callable[[], float]] = [self.cut, *[self.within_an_opening] * 3, self.within_data, self.pull, self.silence]
        deed = self.chance.choice(deeds)
        self.done[deed.__name__] += 1
        return deed()

    def cut(self) -> float:
        self.cable.cut()
        return self.chance.uniform(0, 0.2)

    def within_an_opening(self) -> float:
        self.cable.cut_after(self.chance.randrange(1, OPENING), self.chance.choice(WAYS))
        return self.chance.uniform(0, 0.4)

    def within_data(self) -> float:
        self.cable.cut_after(self.chance.randrange(1, 8 * MIB), self.chance.choice(WAYS))
        return self.chance.uniform(0, 0.4)

    def pull(self) -> float:
        self.cable.pull(self.chance.uniform(0.01, 0.5))
        return self.chance.uniform(0, 0.5)

    def silence(self) -> float:
        self.cable.linger()
        return self.chance.uniform(0, 0.2)

    def rage(self, attempt: Attempt) -> None:
        """Strike again and again, until the migration has ended or has suffered enough."""
        for _ in range(self.chance.randrange(1, CUTS)):
            end = time.monotonic() + self.strike()
            while time.monotonic() < end:
                if not attempt.running():
                    return
                time.sleep(0.002)


@dataclass
class Storm:
    """Migrations one after the other, with the certificates and the booted guest that they share."""

    seed: int
    tls: Path
    booted: Booted
    done: Counter[str] = field(default_factory=Counter)

    def move(self, number: int) -> list[str]:
        """One migration; what went wrong, none for all well."""
        chance = random.Random(f"{self.seed} {number}")
        with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
            plan = Plan(chance.choice([4, 16]) * MIB)
            pairs = Pair(Path(name), guest.build(), [plan] * chance.choice([1, 2]), booted=self.booted)
            with pairs as pair, Crossing(pair, self.tls, cable=True, options=OPTIONS) as crossing:
                return self._cross(crossing, Weather(crossing.cable, chance, self.done))

    def _cross(self, crossing: Crossing, weather: Weather) -> list[str]:
        weather.cable.cut_after(weather.chance.randrange(1, OPENING), weather.chance.choice(WAYS))  # of the very first link
        attempt = crossing.migrate()
        weather.rage(attempt)
        status = attempt.wait_exit(LIMIT)
        if status:
            return [f"exit status {status}: {attempt.log().strip()}", crossing.daemon.log()[-4000:]]
        return _whole(crossing.pair)


def _whole(pair: Pair) -> list[str]:
    """What is wrong with the guest at the destination."""
    pair.destination.wait_ticks(3)
    faults = pair.faults() + (["the source's QEMU is still there"] if pair.source.running() else [])
    missed = ticks.gaps(pair.source.console() + pair.destination.console())  # a line may begin here, and end there
    return faults + [f"after tick {tick} the guest did not go on with the next" for tick in missed]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.storm", description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--first", type=int, default=1, help="the number of the first one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="nt-storm-", dir="/tmp") as name:
        storm = Storm(options.seed, certificates(Path(name) / "tls"), Booted(Path(name)))
        for number in range(options.first, options.first + options.times):
            began = time.monotonic()
            faults = storm.move(number)
            failed += bool(faults)
            print(f"{number:4}: {time.monotonic() - began:5.1f} s, {'; '.join(faults) or 'well'}", flush=True)
    print(f"{options.times - failed} of {options.times} completed, seed {options.seed}; {dict(storm.done)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
