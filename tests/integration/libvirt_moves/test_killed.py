"""A source that is killed where ssh or a code has led it; `libvirt_matrix` has the kills where a daemon listens."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from lab.cache import CACHE
from lab.daemon import free_port
from lab.disks import MIB
from lab.libvirt import SPARE
from lab.libvirt_way import PATIENT, Way
from lab.process import marked, wait
from lab.sshd import Sshd
from tests.integration.libvirt_matrix.cell import Cell

SOON = 50
"""Seconds in which the far end has heard of it: by itself it would wait for the resume window, a minute."""


@pytest.mark.slow
@pytest.mark.parametrize("by", ["ssh", "code"])
def test_the_far_end_hears_of_it(ways: Callable[..., Way], by: str) -> None:
    way = ways()
    here, there = way.ends
    with ExitStack() as stack:
        if by == "ssh":
            sshd = stack.enter_context(Sshd(way.directory, host=there))
            attempt = way.migrate("--bandwidth", "4M", to=["--to", sshd.to], env=sshd.environment)
        else:
            address = f"127.0.0.1:{free_port()}"
            words = ["web1", "--libvirt", "--listen", address, "--admit", f"{SPARE}", "--admit", f"{CACHE}"]
            receiver = stack.enter_context(way.command(there, "receive", *words))
            wait(lambda: "the code is " in receiver.log(), PATIENT, "the code", receiver)
            code = receiver.log().partition("the code is ")[2].partition(",")[0]
            attempt = way.migrate("--bandwidth", "4M", "--code", code, to=["--to", address])
        stack.enter_context(attempt)
        attempt.wait_copied(4 * MIB, PATIENT)
        attempt.signal(signal.SIGKILL)
        attempt.wait_exit(PATIENT)
        wait(lambda: there.virsh("list", "--all", "--name") == "" and not way.left(there), SOON, "a clean destination")
        way.domain.wait_ticks(here, 3, PATIENT)
    with way.migrate() as again:
        assert again.wait_exit(PATIENT) == 0, again.log()
    way.arrived(there)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["window", "attempt"])
def test_nobody_can_tell_the_far_end(ways: Callable[..., Way], by: str) -> None:
    """The network is away too: the far end ends the migration after its resume window, or when the next attempt comes."""
    way = ways()
    here, there = way.ends
    if by == "window":
        way.daemons[there.name].kill()
        way.serve(there, "--resume-window", "10s")
    with way.migrate("--bandwidth", "4M") as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        way.cables[there.name].stall()
        for pid in beside(way.domain.name):
            os.kill(pid, signal.SIGKILL)
        attempt.signal(signal.SIGKILL)
        attempt.wait_exit(PATIENT)
    way.domain.wait_ticks(here, 3, PATIENT)
    if by == "window":
        wait(lambda: there.virsh("list", "--all", "--name") == "" and not way.left(there), PATIENT, "a clean destination")
    else:
        assert "paused" in there.virsh("list")
    way.cables[there.name].plug()
    with way.migrate(tidy=False) as again:
        assert again.wait_exit(PATIENT) == 0, again.log()
    way.arrived(there)


def beside(vm: str) -> list[int]:
    """The processes that stand by a VM's migration."""
    return [pid for pid, command in marked().items() if f"nbdtun standby of {vm}" in command]


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["mirror", "handover", "arrival"])
def test_only_the_process_beside_it_is_killed(ways: Callable[..., Way], phase: str) -> None:
    """Without it nothing is handed over; once that has begun, it is not missed."""
    cell = Cell(ways(sluices=True), phase, ("--resume-window", "60s"))
    cell.reach()
    (standby,) = beside(cell.way.domain.name)
    os.kill(standby, signal.SIGKILL)
    cell.open()
    status = cell.attempt.wait_exit(PATIENT)
    if phase == "mirror":
        assert status == 1, cell.attempt.log()
        assert "the process beside the migration has ended, so that nothing is handed over" in cell.attempt.log()
        cell.way.stays(cell.here)
        status = cell.begin().wait_exit(PATIENT)
    assert status == 0, cell.attempt.log()
    cell.way.arrived(cell.there)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["handover", "arrival"])
def test_the_process_beside_it_is_killed_too(ways: Callable[..., Way], phase: str) -> None:
    """Nobody keeps libvirt waiting then: it lets the guest run on. What runs there is found by --resolve, and no second attempt is made."""
    cell = Cell(ways(sluices=True), phase, ("--resume-window", "5s"))
    here, there, domain = cell.here, cell.there, cell.way.domain
    cell.reach()
    (standby,) = beside(domain.name)
    os.kill(standby, signal.SIGKILL)
    cell.attempt.signal(signal.SIGKILL)
    assert cell.attempt.wait_exit(PATIENT) == -signal.SIGKILL
    domain.wait_ticks(here, 2, PATIENT)
    if phase == "handover":  # libvirtd there is never told, and gives up with the far end
        wait(lambda: there.virsh("list", "--all", "--name") == "", PATIENT, "the domain's end there")
    cell.open()
    second = cell.begin()
    assert second.wait_exit(PATIENT) == 1
    assert "was handed over in an earlier migration" in second.log()
    if phase == "handover":
        assert cell.begin("--resolve").wait_exit(PATIENT) == 1, cell.attempt.log()
        assert "did not arrive and never will; it runs at the source again" in cell.attempt.log()
        domain.wait_ticks(here, 2, PATIENT)
        assert cell.begin("--overwrite").wait_exit(PATIENT) == 0, cell.attempt.log()
    else:
        assert cell.both_run(), "libvirt cannot know better"
        assert cell.begin("--resolve").wait_exit(PATIENT) == 3, cell.attempt.log()
        assert "has run at the destination, and ran here too; it is paused here" in cell.attempt.log()
        assert "paused" in here.virsh("list")
        assert cell.begin("--resolve").wait_exit(PATIENT) == 0, cell.attempt.log()
        assert here.virsh("list", "--name") == ""
        wait(lambda: domain.ticks(there) > domain.ticks(here), PATIENT, "more ticks than there ever were here", there)
    cell.way.arrived(there)
