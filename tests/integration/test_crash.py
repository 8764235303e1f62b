"""`kill -9` of either end in every phase, and what a second try finds: exactly one copy of the VM, all that it wrote, nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import PHASES, VM, Crossing
from lab.daemon import Command
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import Process, wait
from tests.integration.outcome import arrived, journals, undisturbed

PLAN = Plan(32 * MIB)
SHORT = ["--resume-window", "2s"]

#: Whose command is held back (its number where there are others before it) so that there is time to kill somebody just then.
HELD = {
    "prepare": ("destination", "block-export-add", 1),
    "ready": ("destination", "migrate-incoming", 1),
    "pre-switchover": ("source", "block-job-cancel", 1),
    "switchover": ("source", "migrate-continue", 1),
    "before the handover": ("source", "qom-set", 4),
    "finish": ("destination", "cont", 1),
}
#: Phases after which the destination's QEMU has used up its one chance.
LATE = ("ready", "ram", "pre-switchover", "switchover", "before the handover", "finish")


@dataclass
class Struck:
    """A migration that is stopped in the middle of a phase, to be killed there."""

    crossing: Crossing
    running: Process
    gate: Gate | None
    phase: str

    def kill(self) -> None:
        """Kill the source's process; whatever it held back is lost."""
        self.running.kill()

    def open(self) -> None:
        """Hold nothing back any more."""
        if self.gate is not None:
            self.gate.open()

    def clean_up_at_the_destination(self) -> None:
        """The destination does it by itself when the resume window has passed; then put a fresh QEMU there if that one is used up."""
        pair = self.crossing.pair
        if self.phase in LATE:
            pair.destination.wait_exit(30)
            wait(lambda: list(self.crossing.far_run_dir.glob("nbdtun-*/**/*.sock")) == [], 30, "no sockets left at the destination")
            pair.renew_destination()
        else:
            wait(lambda: pair.destination.leftovers() == [], 30, "nothing left at the destination")
            assert pair.destination.status() == "inmigrate"
            wait(lambda: journals(pair.destination) == [], 10, "its journal is erased")


@pytest.fixture
def struck(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> Iterator[Callable[..., Struck]]:
    """Begins a migration and waits for the middle of a phase: `struck("ram")`."""
    with ExitStack() as ended:

        def begin(phase: str, *, service: bool = False, options: Sequence[str] = SHORT, **machine: Any) -> Struck:
            pair = pairs(PLAN, **machine)
            if not machine.get("paused"):
                pair.source.wait_ticks(5)
            monitors = {"source": pair.source.qmp_path, "destination": pair.destination.qmp_path}
            gate = None
            if phase in HELD:
                end, command, nth = HELD[phase]
                gate = ended.enter_context(Gate(pair.directory / "gate.qmp", monitors[end], command, nth))
                monitors[end] = gate.path
            crossing = crossings(pair, qmp=(monitors["source"], monitors["destination"]), options=options)
            slow = [] if gate else ["--bandwidth", "8MiB"]
            running: Process
            if service:
                running = crossing.serve(*slow)
            else:
                running = attempt = crossing.migrate(*slow)
            if gate is not None:
                gate.wait_held()
            elif service:
                running.wait_log(f"{VM}: {phase}", 60)
            else:
                attempt.wait_phase(phase)
            if phase == "ram":  # it begins before QEMU's own migration does
                wait(lambda: bool(pair.source.qmp("query-migrate").get("status") == "active"), 10, "QEMU's migration")
            return Struck(crossing, running, gate, phase)

        yield begin


def moves(crossing: Crossing, *says: str) -> None:
    """The next attempt tells of what it has found, and moves the VM."""
    again = crossing.migrate()
    assert again.wait_exit(120) == 0, again.log()
    assert again.phases() == [*PHASES, "completed"]
    lines = again.complaints()
    assert len(lines) == len(says), lines
    for line, said in zip(lines, says, strict=True):
        assert said in line
    arrived(crossing)


def stays(crossing: Crossing, *says: str) -> None:
    """The next attempt fails, with these words, and the VM runs at the source as if none had ever been tried."""
    again = crossing.migrate()
    assert again.wait_exit(120) == 1, again.log()
    assert again.last["phase"] == "failed"
    for said in says:
        assert said in again.log()
    pair = crossing.pair
    undisturbed(pair)
    assert not pair.both_running()


def stands(crossing: Crossing, phase: str) -> None:
    """What the killed one has left at the source: a guest that runs, or one that stands still and runs nowhere."""
    pair = crossing.pair
    if phase in ("prepare", "mirror", "ready", "ram"):
        pair.source.wait_ticks(2)
    else:
        assert pair.source.status() in ("finish-migrate", "postmigrate")
    assert not pair.both_running()


#: What the next attempt has to say.
SAYS = {
    "prepare": "interrupted while it copied the disks; it has been rolled back",
    "mirror": "interrupted while it copied the disks; it has been rolled back",
    "ready": "interrupted while it copied the disks; it has been rolled back",
    "ram": "interrupted while it copied the memory; it has been rolled back",
    "pre-switchover": "interrupted while it copied the memory; it has been rolled back",
    "switchover": "interrupted at the switchover; it has been rolled back",
    "before the handover": "interrupted at the switchover; it has been rolled back",
}


QUICK = ("pre-switchover",)
EACH = [pytest.param(phase, marks=[] if phase in QUICK else pytest.mark.slow) for phase in SAYS]


@pytest.mark.parametrize("phase", EACH)
def test_the_source_is_killed(struck: Callable[..., Struck], phase: str) -> None:
    """Before the handover: the destination cleans up by itself, and the next attempt does so at the source, and goes on."""
    moving = struck(phase)
    moving.kill()
    moving.open()
    stands(moving.crossing, phase)
    moving.clean_up_at_the_destination()
    moves(moving.crossing, SAYS[phase])


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["switchover", "ram"])
def test_the_next_attempt_comes_before_the_destination_has_noticed(struck: Callable[..., Struck], phase: str) -> None:
    """It gives the dead one's session up; that one's QEMU has ended then, and has to be started again."""
    moving = struck(phase, options=())
    moving.kill()
    moving.open()
    stays(moving.crossing, SAYS[phase], f"{moving.crossing.pair.destination.qmp_path}")  # which may be there a moment longer
    moving.crossing.pair.renew_destination()
    moves(moving.crossing)


def test_the_source_is_killed_when_it_has_handed_over(struck: Callable[..., Struck]) -> None:
    moving = struck("finish")
    crossing, pair = moving.crossing, moving.crossing.pair
    moving.kill()
    moving.open()
    pair.destination.wait_ticks(2)
    again = crossing.migrate()
    assert again.wait_exit(60) == 0, again.log()
    assert again.phases() == ["prepare", "completed"]
    (line,) = again.complaints()
    assert line == f"nbdtun: {VM}: an earlier migration was interrupted after the handover; the VM has arrived at the destination"
    arrived(crossing)


def test_both_are_killed_at_the_handover(struck: Callable[..., Struck]) -> None:
    """Nobody can tell until there is a daemon again, which looks: the guest did not come to run there."""
    moving = struck("finish")
    crossing, pair = moving.crossing, moving.crossing.pair
    moving.kill()
    crossing.daemon.kill()
    asking = crossing.migrate()
    assert asking.wait_exit(60) == 3, asking.log()
    assert asking.last["phase"] == "unknown"
    assert "The source stays paused" in asking.complaints()[-1]
    assert pair.source.status() == "postmigrate"
    moving.open()
    crossing.start_daemon()
    stays(crossing, "interrupted at the handover; it has been rolled back")
    assert pair.destination.wait_exit(10) == 0
    pair.renew_destination()
    moves(crossing)


@pytest.mark.slow
def test_a_fresh_qemu_and_a_fresh_daemon_tell_nothing(struck: Callable[..., Struck]) -> None:
    """The guest may have run in the one that was there before; who knows that it has not says `--resolve`."""
    moving = struck("finish")
    crossing, pair = moving.crossing, moving.crossing.pair
    moving.kill()
    crossing.daemon.kill()
    moving.open()
    pair.renew_destination()
    crossing.start_daemon()
    asking = crossing.migrate()
    assert asking.wait_exit(60) == 3, asking.log()
    assert "--resolve" in asking.complaints()[-1]
    assert pair.source.status() == "postmigrate"
    resolving = crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 1, resolving.log()
    assert "it runs at the source again" in resolving.complaints()[-1]
    assert pair.disturbance() == []
    moves(crossing)


def test_a_service_is_killed_and_started_again(struck: Callable[..., Struck]) -> None:
    moving = struck("switchover", service=True)
    crossing = moving.crossing
    moving.kill()
    moving.open()
    moving.clean_up_at_the_destination()
    again = crossing.serve()
    assert again.wait_exit(120) == 0, again.log()
    assert SAYS["switchover"] in again.log()
    arrived(crossing)


@pytest.mark.slow
def test_a_guest_that_was_paused_stays_so(struck: Callable[..., Struck], recent_qemu: Any) -> None:
    moving = struck("switchover", paused=True, builds=(recent_qemu, recent_qemu))
    pair = moving.crossing.pair
    moving.kill()
    moving.open()
    moving.clean_up_at_the_destination()
    again = moving.crossing.migrate()
    assert again.wait_exit(120) == 0, again.log()
    pair.source.wait_exit()
    assert pair.destination.status() in ("paused", "prelaunch")


def test_one_that_lives_is_left_alone(struck: Callable[..., Struck], directory: Path) -> None:
    """Though another monitor of that QEMU is free, and the other operator has a run directory of his own."""
    moving = struck("switchover", extra=["-qmp", f"unix:{directory}/NAME.other,server=on,wait=off"])
    crossing = moving.crossing
    arguments = [VM, "--qmp", f"{directory}/src.other", *crossing.arguments()[3:], "--run-dir", f"{directory}/other-run"]
    with Command(directory / "other.log", "migrate", *arguments) as other:
        assert other.wait_exit(60) == 1
        assert f"{VM} is being migrated by another nbdtun (process {moving.running.pid})" in other.log()
    moving.open()
    assert moving.running.wait_exit(60) == 0
    pair = crossing.pair
    pair.destination.wait_ticks(5)
    pair.source.wait_exit()
    assert pair.faults() == []


@pytest.mark.slow
def test_another_tools_migration_is_left_alone(struck: Callable[..., Struck]) -> None:
    """It has begun after ours was killed, and is where ours might be."""
    moving = struck("prepare")
    crossing, qmp = moving.crossing, moving.crossing.pair.source.qmp
    moving.kill()
    moving.open()
    qmp("migrate-set-capabilities", capabilities=[{"capability": "pause-before-switchover", "state": True}])
    qmp("migrate-set-parameters", max_bandwidth=1 << 34, downtime_limit=60000)
    qmp("migrate", uri="exec:cat >/dev/null")
    wait(lambda: qmp("query-migrate")["status"] not in ("setup", "active"), 60, "the other tool's switchover")
    assert qmp("query-migrate")["status"] == "pre-switchover", qmp("query-migrate")
    again = crossing.migrate()
    assert again.wait_exit(60) == 1, again.log()
    assert "another tool has started to migrate it (pre-switchover) after a migration by nbdtun was killed" in again.log()
    assert qmp("query-migrate")["status"] == "pre-switchover"
    qmp("migrate_cancel")
    crossing.pair.source.wait_ticks(2)
    qmp("migrate-set-capabilities", capabilities=[{"capability": "pause-before-switchover", "state": False}])
    moving.clean_up_at_the_destination()
    moves(crossing, SAYS["prepare"])


@pytest.mark.parametrize("phase", ["prepare", pytest.param("ready", marks=pytest.mark.slow), pytest.param("ram", marks=pytest.mark.slow)])
def test_the_destinations_daemon_is_killed(struck: Callable[..., Struck], phase: str) -> None:
    """The source fails by itself; the next daemon finds what the dead one has left, says so, and takes it away."""
    moving = struck(phase)
    crossing, pair = moving.crossing, moving.crossing.pair
    crossing.daemon.kill()
    moving.open()
    assert moving.running.wait_exit(60) == 1, moving.running.log()
    undisturbed(pair)
    crossing.start_daemon()
    if phase == "ram":
        stays(crossing)
        pair.renew_destination()
    moves(crossing)
    if phase != "ram":
        assert "left over from a killed daemon" in crossing.daemon.log()
