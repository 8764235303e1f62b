"""`nbdtun migrate --workers`: the channels of one VM on several processes, at either end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import wait
from lab.programs import Programs, alive
from lab.qemu import Build
from lab.sshd import SSHD, SSHCrossing
from tests.integration.outcome import arrived, stayed, undisturbed

TWO = (Plan(48 * MIB), Plan(48 * MIB))
HANDS = ("--workers", "3", "--connections", "2")
Pairs = Callable[..., Pair]
Crossings = Callable[..., Crossing]


def workers(run_dir: Path) -> list[dict[str, Any]]:
    """What `nbdtun status` tells of the workers of the migration, or of the destination's daemon, by the directory of its sockets."""
    lines = Programs(run_dir).command("status", "--json").stdout.splitlines()
    return [each for line in lines for each in json.loads(line).get("workers", []) if each["ended"] is None]


def carrying(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    """Those that have a channel of this kind."""
    return [each for each in workers(run_dir) if any(name.startswith(f"{kind}.") for name in each["channels"])]


def count(run_dir: Path, kind: str) -> int:
    return len(carrying(run_dir, kind))


class Stepwise:
    """A migration whose disks take long until they are hurried, and whose memory until it is let go; each channel has a worker."""

    def __init__(self, pair: Pair, crossings: Crossings, **options: Any) -> None:
        self.gate = Gate(pair.directory / "gate.qmp", pair.source.qmp_path, "migrate-continue")
        self.crossing = crossings(pair, qmp=(self.gate.path, pair.destination.qmp_path), **options)

    def __enter__(self) -> Stepwise:
        self.gate.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.gate.__exit__(*error)

    def come_to(self, kind: str) -> Attempt:
        """Begin, and come to the disks, or to the memory, which is all but sent."""
        attempt = self.crossing.migrate(*HANDS, "--bandwidth", "4MiB")
        wait(lambda: count(self.crossing.run_dir, "nbd") == 2, 120, "workers with the disks", attempt)
        if kind == "ram":
            self.hurry()
            self.gate.wait_held()
            assert count(self.crossing.run_dir, "ram") == 3
        return attempt

    def hurry(self) -> None:
        assert self.crossing.command("set", VM, "--bandwidth", "none").returncode == 0


def test_a_vm_moves_over_the_workers_of_both_ends(pairs: Pairs, crossings: Crossings) -> None:
    """Its links are cut with the disks and with the memory."""
    pair = pairs(*TWO)
    pair.source.wait_ticks(5)
    with Stepwise(pair, crossings, cable=True, daemon_options=["--workers", "3"]) as steps:
        crossing = steps.crossing
        attempt = steps.come_to("nbd")
        crossing.cable.cut()
        assert count(crossing.far_run_dir, "nbd") == 2
        steps.hurry()
        steps.gate.wait_held()
        assert count(crossing.run_dir, "ram") == 3
        pids = [each["pid"] for each in workers(crossing.run_dir)]
        crossing.cable.cut()
        steps.gate.open()
        assert attempt.wait_exit(180) == 0, attempt.log()
    assert attempt.last["link"]["resumes"] >= 4
    assert not any(map(alive, pids))
    arrived(crossing)


#: A machine of eight cores.
CORES = "import os\nos.sched_getaffinity = lambda pid: set(range(8))\n"


@pytest.mark.slow
def test_a_machine_of_many_cores(pairs: Pairs, crossings: Crossings, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word of workers, both ends have some: the migration as many as it has disks."""
    (directory / "sitecustomize.py").write_text(CORES)
    monkeypatch.setenv("PYTHONPATH", f"{directory}")
    pair = pairs(*TWO)
    pair.source.wait_ticks(5)
    crossing = crossings(pair)
    attempt = crossing.migrate("--bandwidth", "4MiB")
    wait(lambda: count(crossing.run_dir, "nbd") == 2, 120, "workers with the disks", attempt)
    assert (len(workers(crossing.run_dir)), len(workers(crossing.far_run_dir))) == (2, 4)
    assert crossing.command("set", VM, "--bandwidth", "none").returncode == 0
    assert attempt.wait_exit(180) == 0, attempt.log()
    arrived(crossing)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "build"), [("ram", "native"), ("nbd", "recent"), ("ram", "recent")])
def test_a_worker_is_killed(pairs: Pairs, crossings: Crossings, request: pytest.FixtureRequest, kind: str, build: str) -> None:
    """QEMU connects its disk again, through another worker; the memory cannot, and the guest stays. Then a second try moves it."""
    qemu: Build = request.getfixturevalue(f"{build}_qemu")
    pair = pairs(*TWO, builds=(qemu, qemu))
    pair.source.wait_ticks(5)
    with Stepwise(pair, crossings) as steps:
        crossing = steps.crossing
        attempt = steps.come_to(kind)
        killed = carrying(crossing.run_dir, kind)[0]
        os.kill(killed["pid"], signal.SIGKILL)
        ending = f"worker {killed['pid']} has ended (killed by SIGKILL), and with it {len(killed['channels'])} channel"
        wait(lambda: ending in attempt.log(), 20, "its end", attempt)
        if kind == "nbd":
            steps.hurry()
        steps.gate.open()
        status = attempt.wait_exit(180)
        if kind == "ram":
            assert status == 1, attempt.log()  # for the memory's failure, or the end of the QEMU that should have it
            undisturbed(pair)
            pair.renew_destination()
            attempt = crossing.migrate(*HANDS)
            status = attempt.wait_exit(180)
    assert status == 0, attempt.log()
    arrived(crossing)


@pytest.mark.slow
def test_it_is_cancelled(pairs: Pairs, crossings: Crossings) -> None:
    pair = pairs(*TWO)
    pair.source.wait_ticks(5)
    with Stepwise(pair, crossings) as steps:
        crossing = steps.crossing
        attempt = steps.come_to("nbd")
        pids = [each["pid"] for each in workers(crossing.run_dir)]
        told = crossing.command("status").stdout
        assert all(f"worker {pid}: " in told for pid in pids)
        assert crossing.command("cancel", VM).returncode == 0
        steps.gate.open()
        assert attempt.wait_exit(60) == 130, attempt.log()
    assert not any(map(alive, pids))
    stayed(crossing)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["migrate-continue", "cont"])
def test_the_whole_migration_is_killed(pairs: Pairs, crossings: Crossings, killed: str) -> None:
    """Its workers end with it; the next one ends what it has left, as without workers."""
    pair = pairs(*TWO)
    pair.source.wait_ticks(5)
    near = killed == "migrate-continue"
    monitor = (pair.source if near else pair.destination).qmp_path
    with Gate(pair.directory / "gate.qmp", monitor, killed) as gate:
        qmp = (gate.path, pair.destination.qmp_path) if near else (pair.source.qmp_path, gate.path)
        crossing = crossings(pair, qmp=qmp)
        attempt = crossing.migrate(*HANDS)
        gate.wait_held()
        pids = [each["pid"] for each in workers(crossing.run_dir)]
        assert len(pids) == 3
        os.kill(attempt.pid, signal.SIGKILL)
        wait(lambda: not any(map(alive, pids)), 10, "the end of its workers")
        gate.open()
        settled = crossing.migrate(*HANDS, "--recover" if near else "--resolve")
        assert settled.wait_exit(120) == (1 if near else 0), settled.log()
    undisturbed(pair) if near else arrived(crossing)


@pytest.fixture
def by_ssh() -> Iterator[Callable[..., SSHCrossing]]:
    with ExitStack() as ended:
        yield lambda pair, **options: ended.enter_context(SSHCrossing(pair, **options))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")
def test_its_links_go_over_the_port_of_a_far_end(pairs: Pairs, by_ssh: Callable[..., SSHCrossing]) -> None:
    """The workers dial by themselves, with the certificates of this migration alone."""
    pair = pairs(*TWO)
    crossing = by_ssh(pair)
    pair.source.wait_ticks(5)
    attempt = crossing.migrate(*HANDS, "--bandwidth", "4MiB")
    wait(lambda: count(crossing.run_dir, "nbd") == 2, 120, "workers with disks", attempt)
    assert Programs(crossing.run_dir).command("set", VM, "--bandwidth", "none").returncode == 0
    assert attempt.wait_exit(120) == 0, attempt.log()
    pair.destination.wait_ticks(5)
    pair.source.wait_exit()
    assert pair.faults() == []
    assert crossing.leftovers() == []
