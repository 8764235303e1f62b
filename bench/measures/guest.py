"""Guest: how much of its own work a guest loses while it is copied, beside a migration by QEMU alone.

One guest writes to its disk with fsync as often as it can, and counts; another dirties its
memory. Each is counted first alone, and then from when its disk begins to be copied to the
moment when it stands still. The hosts are a line of 1 Gbit/s apart. What a guest loses is above all
the wait of a blocking write for the copy, so that is measured over several lengths. The
scenarios are those of QEMU's own `tests/migration-stress/guestperf`. Each QEMU is held to a
share of a core: on two cores, the tunnel's processor time would come off the guest's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.columns import Column
from bench.line import FAR, FAR_SEEN, GIGABIT, Length, line, unable
from bench.measures.measure import Measure
from bench.measures.migration import MIGRATE, moment_of, room_for
from bench.measures.rationed import SHARE
from bench.peers import DIRECT
from bench.quota import Hierarchy, held_to, hierarchy
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab import bare, guest, ticks
from lab.crossing import Crossing
from lab.daemon import free_port
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qemu import Qemu

SIZE = 512 * MIB
QUICK = 256 * MIB
HALF = f"{MIGRATE}, half the line"
DIRTY = 40
"""MiB a second that the second guest dirties; memory still converges over half the line."""
ROOM = (192 << 10) + 8
"""KiB of memory: with less, the load's 64 MiB now and then end it."""
COLUMNS = (Column("alone", "alone\na second", 1), Column("during", "while copied\na second", 1), Column("share", "share", 3))


@dataclass(frozen=True)
class Work:
    """What a guest does, and how much of it it has done by its console."""

    name: str
    done: Callable[[str], int]
    ram: int = 0

    def behave(self) -> guest.Guest:
        made = guest.build()
        return guest.Guest(made.kernel, made.initramfs, tick_ms=0 if not self.ram else 50, ram=self.ram, tells=bool(self.ram))


FSYNCS, MEMORY = Work("fsyncs", ticks.reported), Work("KiB dirtied", ticks.loaded, DIRTY)


NEXT_DOOR = Length(1)


@dataclass(frozen=True)
class Case:
    """What is done to which guest, over which line."""

    subject: str
    work: Work
    length: Length = NEXT_DOOR
    blocking: bool = False

    def __str__(self) -> str:
        return f"{self.work.name}, {self.length}{', blocking writes' if self.blocking else ''}"


SUBJECTS = (DIRECT.name, MIGRATE, HALF)
CASES = (
    *(Case(subject, work) for work in (FSYNCS, MEMORY) for subject in SUBJECTS),
    *(Case(subject, FSYNCS, Length(ms), True) for ms in (1, 10, 50) for subject in SUBJECTS[:2]),
)


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Every case in each round, with fresh QEMUs and disks; three rounds at most, since each takes minutes."""
    size = QUICK if scene.effort.quick else SIZE
    where = room_for(2 * size)
    quota = hierarchy()
    if quota is None or unable() or where is None:
        scene.note(GUEST.name, unable() or ("it needs cgroups that it can make" if quota is None else "there is no room for two disks"))
        return
    cases = [case for case in CASES if not scene.effort.quick or (case.subject != HALF and case.length == NEXT_DOOR)]
    for number, case in interleaved(cases, min(scene.effort.rounds, 3)):
        with scene.by_itself(f"{GUEST.name}, round {number}: {case.subject}, {case}"):
            figures = _figures(scene, where, case, size, quota)
            yield Sample(GUEST.name, case.subject, number, figures, f"{case}")


def _figures(scene: Scene, where: Path, case: Case, size: int, quota: Hierarchy) -> dict[str, float]:
    with _scene(where, case, size) as pair, held_to(SHARE, pair.source.pid, quota), held_to(SHARE, pair.destination.pid, quota):
        alone = _rate(pair.source, case.work, 2 * scene.effort.seconds)
        during = _during(scene, pair, case)
    if not during:
        raise RuntimeError("the guest's work has ended before it was copied")
    return {"alone": alone, "during": during, "share": during / alone}


@contextmanager
def _scene(where: Path, case: Case, size: int) -> Iterator[Pair]:
    with ExitStack() as ended:
        directory = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="nb-", dir=where)))
        ended.enter_context(line(directory, case.length))
        pair = ended.enter_context(Pair(directory, case.work.behave(), [Plan(size, filled=1.0)], memory=ROOM))
        pair.source.wait_ticks(20)
        wait(lambda: case.work.done(pair.source.console()) > 0, 60, "the guest's work", pair.source)
        try:
            yield pair
        except ConnectionError as error:
            raise RuntimeError(f"{error}: {pair.last_words()}") from error


def _rate(vm: Qemu, work: Work, seconds: float) -> float:
    begun, before = time.monotonic(), work.done(vm.console())
    time.sleep(seconds)
    return (work.done(vm.console()) - before) / (time.monotonic() - begun)


def _during(scene: Scene, pair: Pair, case: Case) -> float:
    begun, before = (_directly if case.subject == DIRECT.name else _by_command)(scene, pair, case)
    stopped = moment_of(pair.source.qmp.wait_event("STOP", 5))
    return (case.work.done(pair.source.console()) - before) / (stopped - begun)


def _now(pair: Pair, case: Case) -> tuple[float, int]:
    return time.time(), case.work.done(pair.source.console())


def _directly(scene: Scene, pair: Pair, case: Case) -> tuple[float, int]:
    """Move it; when that began, and how much the guest had done by then."""
    nbd, ram = (bare.TcpWay(FAR, FAR_SEEN, free_port()) for _ in range(2))
    begun = _now(pair, case)
    bare.migrate(pair.source, pair.destination, nbd, ram, blocking=case.blocking)
    return begun


def _by_command(scene: Scene, pair: Pair, case: Case) -> tuple[float, int]:
    """The same; the command's own start and checks are before that, and take nothing from the guest."""
    more = ["--bandwidth", f"{GIGABIT // 2}B"] if case.subject == HALF else []
    more += ["--converge", "write-blocking"] if case.blocking else []
    with Crossing(pair, scene.tls, listen=FAR, dial=FAR_SEEN) as crossing:
        attempt = crossing.migrate(*more)
        attempt.wait_phase("mirror")
        begun = _now(pair, case)
        if status := attempt.wait_exit(600):
            raise RuntimeError(f"nbdtun migrate: exit status {status}: {attempt.log().strip()[-500:]}")
    return begun


GUEST = Measure("guest", "What a guest does while it is copied", COLUMNS, measure)
