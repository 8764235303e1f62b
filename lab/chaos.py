"""`make chaos`: copies through the tunnel, back and forth, while the cable suffers at random; every byte is compared.

Meanwhile the programs of both ends are replaced, again and again.

The seed is printed; the same seed makes the same troubles, though not at the same bytes.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab.cable import Cable, Way
from lab.daemon import BIN, Daemon
from lab.process import Process, wait
from lab.programs import Programs
from lab.tunnel import Tunnel

MIB = 1024 * 1024
SIZE = 256 * MIB
LINK_TIMEOUT = 2.0
CONNECTIONS = 2
"""Those that nbdcopy makes to a file's counterpart of this size."""
WAYS: tuple[Way, ...] = ("up", "down", "both")


@dataclass
class Trouble:
    """Does something to the cable, now and then something worse than a cut."""

    cable: Cable
    ends: tuple[Programs, Programs]
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def strike(self) -> float:
        """Do one thing; seconds until it should be over."""
        deeds: list[Callable[[], float]] = [
            self.cut,
            self.cut_soon,
            self.stall,
            self.slow,
            self.trickle,
            self.refuse,
            self.linger,
            self.replace,
        ]
        deed = self.chance.choice(deeds)
        self.done[deed.__name__] += 1
        return deed()

    def cut(self) -> float:
        self.cable.cut()
        return self.chance.uniform(0, 0.5)

    def cut_soon(self) -> float:
        self.cable.cut_after(self.chance.randrange(1, 20 * MIB), self.chance.choice(WAYS))
        return self.chance.uniform(0, 1)

    def stall(self) -> float:
        self.cable.stall(self.chance.choice(WAYS))
        return self.chance.uniform(0, 2 * LINK_TIMEOUT)

    def slow(self) -> float:
        self.cable.slow(self.chance.uniform(1, 50) * MIB, self.chance.choice(WAYS))
        return self.chance.uniform(0, 2)

    def trickle(self) -> float:
        self.cable.trickle(self.chance.choice(WAYS))
        return self.chance.uniform(0, 0.3)

    def refuse(self) -> float:
        self.cable.pull()
        return self.chance.uniform(0, 3)

    def linger(self) -> float:
        self.cable.linger()
        return self.chance.uniform(0, 1)

    def replace(self) -> float:
        """The program of either end is replaced, and the links are cut: they come back to the new one."""
        self.chance.choice(self.ends).replace()
        return self.cut()


class Chaos:
    """One tunnel, one server, and copies until the time is up."""

    def __init__(self, directory: Path, seed: int, workers: int) -> None:
        self._directory = directory
        self._workers = workers
        self._chance = random.Random(seed)
        self._original = directory / "original"
        self._copies = 0

    def run(self, seconds: float) -> list[str]:
        """Copy until ``seconds`` have passed; what went wrong."""
        socket = self._directory / "nbd.sock"
        certificates = self._directory / "tls"
        subprocess.run([BIN / "nbdtun", "certs", certificates, "--host", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
        options = ["--link-timeout", f"{LINK_TIMEOUT}s", "--resume-window", "30s", "--workers", f"{self._workers}"]
        end = time.monotonic() + seconds
        with Process(["nbdkit", "-f", "-U", socket, "memory", f"{SIZE}"], self._directory / "nbdkit.log") as server:
            wait(socket.exists, 10, "nbdkit", server)
            with Tunnel(self._directory, socket, certificates, cable=True, options=options, daemon=Daemon) as tunnel:
                assert tunnel.cable is not None
                ends = Programs(tunnel.run_dir), Programs(tunnel.run_dir, "nbdtun-source")
                trouble = Trouble(tunnel.cable, ends, self._chance)
                faults: list[str] = []
                try:
                    while time.monotonic() < end and not faults:
                        faults = self._round(tunnel, trouble)
                    return faults + self._account(tunnel, trouble)
                finally:
                    for each in ends:
                        each.kill()

    def _round(self, tunnel: Tunnel, trouble: Trouble) -> list[str]:
        """New data there, and back; what went wrong."""
        copy = self._directory / "copy"
        with self._original.open("wb") as file:
            for _ in range(SIZE // (16 * MIB)):
                file.write(os.urandom(16 * MIB))
        faults = self._copy(tunnel, trouble, self._original, tunnel.uri) or self._copy(tunnel, trouble, tunnel.uri, copy)
        if not faults and not filecmp.cmp(self._original, copy, shallow=False):
            faults = ["the copy differs from the original"]
        return [*faults, *(["", tunnel.source.log()[-3000:], tunnel.destination.log()[-3000:]] if faults else [])]

    def _copy(self, tunnel: Tunnel, trouble: Trouble, *ends: Path | str) -> list[str]:
        """Trouble begins when the channels are open: one that cannot be opened for 10 s is refused, which is no loss."""
        opened = _opened(tunnel)
        with Process(["nbdcopy", *ends], self._directory / "nbdcopy.log") as copying:
            while copying.running() and _opened(tunnel) < opened + CONNECTIONS:
                time.sleep(0.005)
            while copying.running():
                self._pause(copying, trouble.strike())
                trouble.cable.plug()
                self._pause(copying, self._chance.uniform(0, 0.3))
            self._copies += 1
            return [] if copying.returncode == 0 else [f"nbdcopy ended with {copying.returncode}: {copying.log()[-500:]}"]

    @staticmethod
    def _pause(copying: Process, seconds: float) -> None:
        end = time.monotonic() + seconds
        while copying.running() and time.monotonic() < end:
            time.sleep(0.005)

    def _account(self, tunnel: Tunnel, trouble: Trouble) -> list[str]:
        faults = [f"a traceback in {daemon!r}" for daemon in (tunnel.source, tunnel.destination) if "Traceback" in daemon.log()]
        links = tunnel.source.log().count("link back")
        print(f"{self._copies} copies of {SIZE // MIB} MiB, {links} links replaced; {dict(trouble.done)}", flush=True)
        return faults


def _opened(tunnel: Tunnel) -> int:
    return tunnel.source.log().count("is open")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--workers", type=int, default=1, help="of either daemon")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes, {options.workers} workers", flush=True)
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        faults = Chaos(Path(name), options.seed, options.workers).run(options.minutes * 60)
    print("\n".join(["FAILED", *faults]) if faults else "nothing was lost")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
