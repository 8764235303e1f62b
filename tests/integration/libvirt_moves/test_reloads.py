"""The program of a destination's daemon is replaced, again and again, while libvirt migrates a VM to it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.libvirt import Host
from lab.libvirt_way import PATIENT, Way
from lab.process import wait
from tests.integration.libvirt_matrix.cell import Cell
from tests.integration.libvirt_matrix.faults import FAULTS

SECONDS = 2.0
"""Of a cut, after which links come back to the newest program."""


class Replaced:
    """The programs of a host's daemon, but for the first one, which is somebody else's; they end with their host at the latest."""

    def __init__(self, way: Way, host: Host) -> None:
        self._way, self._host = way, host
        self._pids: list[int] = []

    def replace(self) -> None:
        """Replace the present one."""
        with self._way.command(self._host, "reload", "--program") as command:
            assert command.wait_exit(PATIENT) == 0, command.log()
            self._pids.append(int(command.log().partition(": process ")[2].split()[0]))

    def end(self) -> None:
        """Stop the daemon, and with it all its programs."""
        self._kill("-TERM", self._pids[-1])
        wait(lambda: not any(self._kill("-0", pid) for pid in self._pids), PATIENT, "the end of all programs")

    def _kill(self, what: str, pid: int) -> bool:
        return subprocess.run([*self._host.enter, "kill", what, f"{pid}"], capture_output=True).returncode == 0


@contextmanager
def met(cell: Cell) -> Iterator[None]:
    """A migration, in the middle of the phase; then it goes on, over new links."""
    cell.reach()
    yield
    cell.cable.pull(SECONDS)
    cell.open()


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["prepare", "mirror", "ram", "handover", "arrival"])
def test_two_reloads_in_each_phase(ways: Callable[..., Way], phase: str) -> None:
    cell = Cell(ways(sluices=True), phase, FAULTS["cut-5"].options)
    programs = Replaced(cell.way, cell.there)
    with met(cell):
        programs.replace()
        programs.replace()
    assert cell.attempt.wait_exit(FAULTS["cut-5"].timeouts) == 0, cell.attempt.log()
    assert not cell.both_run()
    cell.way.arrived(cell.there)
    programs.end()
    assert cell.daemon.wait_exit(PATIENT) == 0
    assert [each for each in cell.way.left(cell.there) if "/run/" in each] == []
    assert "Traceback" not in cell.daemon.log()


@pytest.mark.slow
def test_a_killed_sources_domain_is_found_by_the_next_source(ways: Callable[..., Way]) -> None:
    """The old program waits for it; the next source's questions, about the same domain, get there, and end that."""
    cell = Cell(ways(sluices=True), "mirror", ("--resume-window", "300s"))
    programs = Replaced(cell.way, cell.there)
    cell.reach()
    programs.replace()
    cell.attempt.signal(signal.SIGKILL)
    cell.attempt.wait_exit(PATIENT)
    cell.open()
    again = cell.begin()
    assert again.wait_exit(PATIENT) == 0, again.log()
    cell.way.arrived(cell.there)
    programs.end()


@pytest.mark.slow
def test_the_old_program_is_killed(ways: Callable[..., Way]) -> None:
    """Its migration fails, the guest goes on, and the new program removes what is left: the next migration moves it."""
    cell = Cell(ways(sluices=True), "mirror", ("--resume-window", "10s"))
    programs = Replaced(cell.way, cell.there)
    cell.reach()
    programs.replace()
    cell.daemon.kill()
    cell.open()
    assert cell.attempt.wait_exit(PATIENT) == 1, cell.attempt.log()
    wait(lambda: cell.there.virsh("list", "--all", "--name") == "" and not cell.way.left(cell.there), 60, "a clean destination")
    cell.way.stays(cell.here)
    again = cell.begin()
    assert again.wait_exit(PATIENT) == 0, again.log()
    cell.way.arrived(cell.there)
    programs.end()
