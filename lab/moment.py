"""The moment in which the guest stands still: all that the two QEMUs are told, and tell, from STOP to RESUME, as a picture in text.

    python -m lab.moment [--disks N]

A real `nbdtun migrate`, with an ear before each monitor. The pause is between QEMU's own timestamps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab import guest
from lab.crossing import Crossing, certificates
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan

End = Literal["source", "destination"]
WIDTH = 45


@dataclass
class Word:
    """Something that a QEMU was told, or that it told."""

    at: float
    """Seconds since the epoch."""
    end: End
    text: str
    event: bool = False
    answered: float | None = None

    def __str__(self) -> str:
        if self.event:
            return f"(event) {self.text}"
        took = "" if self.answered is None else f"  {(self.answered - self.at) * 1000:.1f} ms"
        return f"> {self.text}{took}"


@dataclass
class Ear:
    """Hears one monitor."""

    end: End
    words: list[Word] = field(default_factory=list)
    _asked: dict[str, Word] = field(default_factory=dict)
    _rest: str = ""

    def hear(self, to_qemu: bool, data: bytes) -> None:
        now = time.time()
        if to_qemu:
            command = json.loads(data)
            word = Word(now, self.end, _said(command))
            self._asked[str(command.get("id"))] = word
            self.words.append(word)
            return
        *lines, self._rest = (self._rest + data.decode()).split("\n")
        for line in filter(str.strip, lines):
            self._told(now, json.loads(line))

    def _told(self, now: float, told: dict[str, Any]) -> None:
        if "event" in told:
            stamp = told["timestamp"]
            self.words.append(Word(stamp["seconds"] + stamp["microseconds"] / 1e6, self.end, _happened(told), event=True))
        elif (word := self._asked.get(str(told.get("id")))) is not None:
            word.answered = now


def _said(command: dict[str, Any]) -> str:
    name: str = command.get("execute") or command.get("exec-oob") or "?"
    if name == "qom-set":
        entry = json.loads(command["arguments"]["value"])
        return "qom-set nbdtun-journal" + (
            ": handed over" if entry.get("handed_over") else ": it switches" if entry.get("switched") else ""
        )
    return name


def _happened(event: dict[str, Any]) -> str:
    data = event.get("data", {})
    detail = data.get("status", "")
    return f"{event['event']} {detail}".rstrip()


@dataclass
class Moment:
    """A pause, and what was said in it."""

    words: list[Word]

    @property
    def stopped(self) -> float:
        return next(word.at for word in self.words if word.event and word.end == "source" and word.text == "STOP")

    @property
    def resumed(self) -> float:
        return next(word.at for word in self.words if word.event and word.end == "destination" and word.text == "RESUME")

    @property
    def within(self) -> list[Word]:
        """What was said between the two, in its order; but for the states of jobs, which are many."""
        said = (word for word in self.words if self.stopped <= word.at <= self.resumed and not word.text.startswith("JOB_STATUS"))
        return sorted(said, key=lambda word: word.at)

    def said(self, end: End) -> list[str]:
        """What one end's QEMU was told."""
        return [word.text for word in self.within if word.end == end and not word.event]

    def picture(self) -> Iterator[str]:
        yield f"{'ms':>7}  {'source':<{WIDTH}}destination"
        for word in self.within:
            there = "" if word.end == "source" else " " * WIDTH
            yield f"{(word.at - self.stopped) * 1000:7.1f}  {there}{word}".rstrip()


def watch(pair: Pair, tls: Path, *options: str) -> Moment:
    """Move the guest of `pair`."""
    ears = Ear("source"), Ear("destination")
    ways = pair.source.qmp_path, pair.destination.qmp_path
    with ExitStack() as ended:
        gates = [
            ended.enter_context(Gate(pair.directory / f"{ear.end}.ear", way, "", hears=ear.hear))
            for ear, way in zip(ears, ways, strict=True)
        ]
        crossing = ended.enter_context(Crossing(pair, tls, qmp=(gates[0].path, gates[1].path)))
        attempt = crossing.migrate(*options)
        if status := attempt.wait_exit(300):
            raise RuntimeError(f"nbdtun migrate: exit status {status}: {attempt.log().strip()[-500:]}")
    return Moment([word for ear in ears for word in ear.words])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--disks", type=int, default=1)
    given = parser.parse_args()
    plans = [Plan(16 * MIB) for _ in range(given.disks)]
    with tempfile.TemporaryDirectory(prefix="nm-") as name, Pair(Path(name), guest.build(), plans) as pair:
        pair.source.wait_ticks(10)
        limit = ("--downtime", "20ms")  # with QEMU's 300 ms, all the memory of so small a guest would be sent in the pause
        moment = watch(pair, certificates(pair.directory / "pki"), *limit)
    print("\n".join(moment.picture()))


if __name__ == "__main__":
    main()
