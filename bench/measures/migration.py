"""Migration: a real one of a disk of 4 GiB, by the same driver over different ways, and by `nbdtun migrate`.

`lab.bare` gives two QEMUs the same QMP commands in the same order each time; only the
sockets differ. `nbdtun migrate` is the product as an operator has it, with TLS: from the
command's start to its end. The downtime is, for all of them, from the source's STOP event
to the destination's RESUME event, by the clock of this one machine.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.columns import Column
from bench.measures.measure import Measure
from bench.peers import DIRECT, NBDTUN_PLAIN, NBDTUN_TLS, SSH, Place, ssh
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from bench.usage import cpu_seconds
from lab import bare, guest
from lab.crossing import Crossing
from lab.daemon import free_port
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.tunnel import Tunnel

SIZE = 4096 * MIB
QUICK = 1024 * MIB
MIGRATE = "nbdtun migrate"
LIMIT_MS = 300
"""The downtime that QEMU aims for by default."""
SHM = Path("/dev/shm")
COLUMNS = (
    Column("wall_s", "wall\ns", 2),
    Column("mirror_s", "disk\ns", 2),
    Column("downtime_ms", "downtime\nms"),
    Column("source_cpu", "source QEMU\ns/GB", 2),
    Column("destination_cpu", "dest. QEMU\ns/GB", 2),
    Column("tunnel_cpu", "tunnel\ns/GB", 2),
)

Ways = tuple[bare.UnixWay, bare.UnixWay]


@dataclass(frozen=True)
class Controllable:
    """A way over, and what is done on it."""

    name: str
    move: Callable[[Pair, Scene], dict[str, float]]


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Every way in every round, each with fresh QEMUs and disks; what has arrived is compared in the first."""
    size = QUICK if scene.effort.quick else SIZE
    home = room_for(2 * size)
    if home is None:
        scene.note(MIGRATION.name, f"it needs {2 * size / MIB:.0f} MiB and 2 GiB more in {SHM}, or in {tempfile.gettempdir()}")
        return
    if home == SHM:
        _warm(home, 2 * size)
    here = [subject for subject in SUBJECTS if subject.name != SSH.name or not SSH.missing()]
    behaves = guest.build()
    for number, subject in interleaved(here, scene.effort.rounds):
        with pair_of(home, behaves, size) as pair:
            pair.source.wait_ticks(20)
            figures = moved(subject, pair, scene, size)
            if number == 1 and (faults := pair.faults()):
                raise RuntimeError(f"{subject.name}: {'; '.join(faults[:3])}")
        yield Sample(MIGRATION.name, subject.name, number, figures, f"{size / MIB / 1024:g} GiB")


def moved(subject: Controllable, pair: Pair, scene: Scene, size: int) -> dict[str, float]:
    """Move it; the figures, with the processor time for 10^9 bytes of its disk: of each QEMU, and of all else."""
    before = _used(pair)
    figures = subject.move(pair, scene) | {"downtime_ms": downtime(pair)}
    costs = (after - earlier for after, earlier in zip(_used(pair), before, strict=True))
    return figures | {name: cost / size * 1e9 for name, cost in zip(("source_cpu", "destination_cpu", "tunnel_cpu"), costs, strict=True)}


def _used(pair: Pair) -> tuple[float, float, float]:
    """CPU seconds so far; a QEMU that has ended is on no other account before it is waited for."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu_seconds(pair.source.pid), cpu_seconds(pair.destination.pid), ended.ru_utime + ended.ru_stime


@contextmanager
def pair_of(home: Path, behaves: guest.Guest, size: int) -> Iterator[Pair]:
    """Two QEMUs; no MiB of the disk is a hole."""
    with tempfile.TemporaryDirectory(prefix="nb-", dir=home) as name, Pair(Path(name), behaves, [Plan(size, filled=1.0)]) as pair:
        yield pair


def room_for(size: int) -> Path | None:
    """Where there is room: in memory, where no disk's own pace shows, or else on a disk."""
    spare = size + 2048 * MIB
    if shutil.disk_usage(SHM).free > spare and _available() > spare:
        return SHM
    disk = Path(tempfile.gettempdir())
    return disk if shutil.disk_usage(disk).free > spare else None


def _warm(home: Path, size: int) -> None:
    """Use that much memory once: a virtual machine is given its memory when it is first used, and the first subject would pay for it."""
    with tempfile.TemporaryFile(dir=home) as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _available() -> int:
    """Bytes of memory that processes can have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def downtime(pair: Pair) -> float:
    """Milliseconds from STOP at the source to RESUME at the destination, by QEMU's own timestamps."""
    stopped, resumed = pair.source.qmp.wait_event("STOP", 5), pair.destination.qmp.wait_event("RESUME", 5)
    return (moment_of(resumed) - moment_of(stopped)) * 1000


def moment_of(event: dict[str, Any]) -> float:
    stamp: dict[str, int] = event["timestamp"]
    return stamp["seconds"] + stamp["microseconds"] / 1e6


def _driven(name: str, over: Callable[[Path, Ways, Scene], AbstractContextManager[object]]) -> Controllable:
    """By `lab.bare`, over two tunnelled sockets."""

    def move(pair: Pair, scene: Scene) -> dict[str, float]:
        nbd, ram = (bare.UnixWay(pair.directory / f"{kind}.sock", pair.directory / f"{kind}-in.sock") for kind in ("nbd", "ram"))
        with over(pair.directory, (nbd, ram), scene):
            return _bare(pair, nbd, ram)

    return Controllable(name, move)


def _bare(pair: Pair, nbd: bare.Way, ram: bare.Way, limit_ms: int = LIMIT_MS) -> dict[str, float]:
    moved = bare.migrate(pair.source, pair.destination, nbd, ram, limit_ms=limit_ms)
    return {"wall_s": moved.total, "mirror_s": moved.mirror}


def direct(pair: Pair, scene: Scene, limit_ms: int = LIMIT_MS) -> dict[str, float]:
    return _bare(pair, *bare.ways(pair.directory), limit_ms)


@contextmanager
def _ssh(directory: Path, ways: Ways, scene: Scene) -> Iterator[None]:
    nbd, ram = ways
    port = free_port()
    place = Place(directory, nbd.listen, scene.tls, port)
    with ssh.server(place), ssh.forward(place, nbd.dial, nbd.listen), ssh.forward(place, ram.dial, ram.listen):
        yield


def _nbdtun(tls: bool) -> Callable[[Path, Ways, Scene], AbstractContextManager[object]]:
    def over(directory: Path, ways: Ways, scene: Scene) -> Tunnel:
        nbd, ram = ways
        forward = ["--forward", f"nbd=unix:{nbd.dial}", "--forward", f"ram=unix:{ram.dial}"]
        targets = [f"ram=unix:{ram.listen}"]
        return Tunnel(directory, nbd.listen, scene.tls if tls else None, source_options=forward, targets=targets)

    return over


def by_command(pair: Pair, scene: Scene, limit_ms: int = LIMIT_MS) -> dict[str, float]:
    with Crossing(pair, scene.tls) as crossing:
        begun = time.monotonic()
        attempt = crossing.migrate("--downtime", f"{limit_ms}ms")
        if status := attempt.wait_exit(600):
            raise RuntimeError(f"nbdtun migrate: exit status {status}: {attempt.log().strip()[-500:]}")
        wall = time.monotonic() - begun
        return {"wall_s": wall, "mirror_s": _until_ready(attempt.reports())}


def _until_ready(reports: list[dict[str, Any]]) -> float:
    """From its first report to the one that all disks are ready."""
    ready: float = next(report["time"] for report in reports if report["phase"] in ("ready", "ram"))
    return ready - float(reports[0]["time"])


SUBJECTS = (
    Controllable(DIRECT.name, direct),
    _driven(SSH.name, _ssh),
    _driven(NBDTUN_PLAIN.name, _nbdtun(False)),
    _driven(NBDTUN_TLS.name, _nbdtun(True)),
    Controllable(MIGRATE, by_command),
)
MIGRATION = Measure("migration", "A migration", COLUMNS, measure)
