"""`make demo`: a guest with a disk moves while it runs, the cable is pulled on the way, and then the proof of it.

Only processes that an operator would start: two QEMUs, `twistd nbdtun-dest`, and
`nbdtun migrate` on this terminal. Between the two hosts is a relay that plays the
cable; it is slow enough for the migration to last some seconds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import guest
from lab.crossing import Crossing, certificates
from lab.daemon import BIN
from lab.disks import MIB
from lab.pair import Pair, Plan

RATE = 100.0 * MIB
"""What the cable carries, in bytes a second."""
PULL_AT = 200 * MIB
PULLED = 4.0


def say(text: str) -> None:
    print(f"\n==> {text}", flush=True)


def demo(directory: Path) -> list[str]:
    """Move a guest; what is wrong afterwards, which is nothing."""
    say("A source and a destination; the guest writes numbered ticks to a disk of 1 GiB")
    with Pair(directory, guest.build(), [Plan(1024 * MIB)]) as pair:
        print(f"tick {pair.source.wait_ticks(20)} reported at the source")
        say(f"The destination's daemon, and the migration; its cable is pulled for {PULLED:g} s on the way")
        with Crossing(pair, certificates(directory / "tls"), cable=True) as crossing:
            if status := _migrate(crossing):
                return [f"nbdtun migrate: exit status {status}", crossing.daemon.log()[-2000:]]
        say("The proof")
        return _prove(pair)


def _migrate(crossing: Crossing) -> int:
    """Run `nbdtun migrate` on this terminal, and pull the cable in the middle of the disk; its exit status."""
    crossing.cable.slow(RATE)
    with subprocess.Popen([BIN / "nbdtun", "migrate", *crossing.arguments()]) as moving:
        before = crossing.cable.counters().up
        while moving.poll() is None and crossing.cable.counters().up < before + PULL_AT:
            time.sleep(0.02)
        crossing.cable.pull(PULLED)
        return moving.wait()


def _prove(pair: Pair) -> list[str]:
    last = pair.source.ticks()
    print(f"tick {last} was the last at the source")
    print(f"tick {pair.destination.wait_ticks()} was the first at the destination")
    print(f"tick {pair.destination.wait_ticks(20)} reported there since: the guest runs on")
    faults = pair.faults()
    if not faults:
        print("every reported tick and every other block is on the destination's disk")
    if pair.source.running():
        return [*faults, f"the source's QEMU is still there: {pair.source.status()}"]
    print("the source's QEMU is gone")
    return faults


def main() -> int:
    # Short, because a UNIX socket's path ends at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        faults = demo(Path(name))
    say("\n".join(["FAILED", *faults[:20]]) if faults else "It moved, and nothing was lost")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
