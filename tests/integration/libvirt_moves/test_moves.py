"""`nbdtun migrate --libvirt`: two real libvirtds with their own settings, nothing prepared at the destination, and a ticking guest."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.disks import MIB
from lab.libvirt import SPARE
from lab.libvirt_way import PATIENT, Way
from lab.process import marked, wait
from lab.sshd import Sshd

SLOW = 3 * MIB
"""Bytes a second through the cable, where something is to happen meanwhile."""
SOON = 30
"""Seconds for what is noticed at once, and needs no resume window."""
MUTE = Path(__file__).parent.parent / "mute"


def test_what_prevents_it_is_said_before_anything(ways: Callable[..., Way], bridge: str) -> None:
    """Then it is cancelled, then it moves while the cable is pulled; each leaves nothing behind."""
    way = ways()
    here, there = way.ends
    with way.migrate("--map", f"{bridge}=nobridge0") as attempt:
        assert attempt.wait_exit(PATIENT) == 1
        assert "nobridge0" in attempt.log()
        assert attempt.phases() == ["prepare", "rollback", "failed"]
    way.stays(here)
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        attempt.signal(signal.SIGINT)
        assert attempt.wait_exit(PATIENT) == 130
    way.stays(here)
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        way.cables[there.name].pull(5)
        way.cables[there.name].slow(100 * MIB)
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
        assert attempt.phases() == ["prepare", "mirror", "ram", "finish", "completed"]
        assert attempt.last["link"]["outages"] == 1
    way.arrived(there)
    assert [each for each in way.left(there) if "/run/" in each] == []


def test_a_persistent_domain_leaves_its_definition(ways: Callable[..., Way]) -> None:
    way = ways("qcow2", persistent=True)
    here, there = way.ends
    here.virsh("autostart", way.domain.name)
    here.virsh("metadata", "web1", "urn:lab", "--key", "lab", "--set", "<owner>us</owner>", "--live", "--config")
    with way.migrate("--keep-source", "--converge", "write-blocking,auto-converge", "--connections", "2") as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)
    assert "shut off" in here.virsh("list", "--all")
    assert way.domain.name not in here.virsh("list", "--all", "--autostart", "--name")
    assert way.domain.name in there.virsh("list", "--persistent", "--autostart", "--name")
    for xml in (there.virsh("dumpxml", "web1"), there.virsh("dumpxml", "web1", "--inactive")):
        assert '<lab:owner xmlns:lab="urn:lab">us</lab:owner>' in xml
    assert attempt.last["downtime_ms"] > 0


@pytest.mark.slow
def test_workers_have_its_channels(ways: Callable[..., Way]) -> None:
    """As many as its memory has connections."""
    way = ways()
    there = way.ends[1]
    way.cables[there.name].slow(SLOW)
    with way.migrate("--workers", "8", "--connections", "2") as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        assert sum("nbdtun worker of nbdtun-migrate" in each for each in marked().values()) == 3
        way.cables[there.name].slow(100 * MIB)
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_ssh_starts_the_destination(ways: Callable[..., Way]) -> None:
    """Through one port that it chooses, with certificates of its own; and no daemon runs there."""
    way = ways()
    there = way.ends[1]
    with Sshd(way.directory, host=there) as sshd, way.migrate(to=["--to", sshd.to], env=sshd.environment) as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_there_and_back_again(ways: Callable[..., Way]) -> None:
    """With a disk that the next start is to have, and the running guest does not."""
    way = ways("qcow2", persistent=True)
    here, there = way.ends
    here.virsh("attach-disk", "web1", f"{SPARE}/later.raw", "vdb", "--config")
    for end in (there, here):
        with way.migrate() as attempt:
            assert attempt.wait_exit(PATIENT) == 0, attempt.log()
        way.arrived(end)
        assert way.domain.name in end.virsh("list", "--persistent", "--name")
        assert "later.raw" in end.virsh("domblklist", "web1", "--inactive")
    assert there.virsh("list", "--all", "--name") == ""


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["mirror", "ram"])
def test_a_cut_of_45_seconds_needs_no_settings(ways: Callable[..., Way], phase: str) -> None:
    """libvirt by itself gives up after 30 s."""
    way = ways()
    there = way.ends[1]
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_phase(phase, PATIENT)
        way.cables[there.name].wait_bytes(4 * MIB, PATIENT)
        way.cables[there.name].stall()
        time.sleep(45)
        way.cables[there.name].plug()
        assert attempt.wait_exit(2 * PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
@pytest.mark.parametrize("again", [True, False], ids=["restarted", "gone"])
def test_the_daemon_dies_when_the_guest_has_just_begun_to_run_there(ways: Callable[..., Way], again: bool) -> None:
    """libvirt alone would let it run on at the source, too. A daemon that is restarted knows; without one, it is asked later."""
    way = ways()
    here, there = way.ends
    way.daemons[there.name].kill()
    way.serve(there, env={"PYTHONPATH": f"{MUTE}"})
    with way.migrate("--resume-window", "10s") as attempt:
        wait(lambda: "running" in there.virsh("list"), PATIENT, "the guest's run there", attempt)
        way.daemons[there.name].kill()
        assert "paused" in here.virsh("list")
        if again:
            way.serve(there)
        assert attempt.wait_exit(2 * PATIENT) == (0 if again else 3), attempt.log()
    if not again:
        assert "paused" in here.virsh("list")
        way.serve(there)
        with way.migrate("--resolve") as attempt:
            assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_the_daemon_dies_and_both_ends_are_clean_at_once(ways: Callable[..., Way]) -> None:
    """Nobody starts it again, and there is nothing in the way of a second try."""
    way = ways()
    here, there = way.ends
    way.cables[there.name].slow(SLOW)
    with way.migrate("--resume-window", "300s") as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        way.daemons[there.name].kill()
        assert attempt.wait_exit(SOON) == 1, attempt.log()
        assert "so the destination's daemon has ended; start it, and try again" in attempt.log()
    way.stays(here)
    way.serve(there)
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_sigterm_and_a_command_that_cancels(ways: Callable[..., Way]) -> None:
    way = ways()
    here, there = way.ends
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_phase("ram", PATIENT)
        attempt.signal(signal.SIGTERM)
        assert attempt.wait_exit(PATIENT) == 130
    way.stays(here)
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_phase("mirror", PATIENT)
        for words, told in ((["status"], "copying disks"), (["set", "web1", "--downtime", "1s"], "web1"), (["cancel", "web1"], "web1")):
            with way.command(here, *words) as command:
                assert command.wait_exit(PATIENT) == 0, command.log()
                assert told in command.log()
        assert attempt.wait_exit(PATIENT) == 130
    way.stays(here)


@pytest.mark.slow
def test_a_definition_that_differs_is_known_before_anything_is_copied(ways: Callable[..., Way], bridge: str) -> None:
    """What it names is let through at the end, or refused at the beginning."""
    way = ways(persistent=True)
    here, there = way.ends
    more = here.spare / "more.xml"
    for source, status, says in (
        ("/etc/cron.d/disk.raw", 1, "/etc/cron.d/disk.raw is in no storage pool there"),
        (f"{SPARE}/more.raw", 0, ""),
    ):
        more.write_text(f"<disk type='file'><driver name='qemu' type='raw'/><source file='{source}'/><target dev='vdz'/></disk>")
        here.virsh("attach-device", "web1", f"{more}", "--config")
        with way.migrate() as attempt:
            assert attempt.wait_exit(PATIENT) == status, attempt.log()
            assert says in attempt.log()
        if status:
            assert attempt.phases() == ["prepare", "rollback", "failed"]
            way.stays(here)
            here.virsh("detach-device", "web1", f"{more}", "--config")
    way.arrived(there)
    assert f"{SPARE}/more.raw" in there.virsh("dumpxml", "web1", "--inactive")
    assert f"{SPARE}/more.raw" not in there.virsh("dumpxml", "web1")


@pytest.mark.slow
def test_a_guest_that_ends_on_the_way_has_not_moved(ways: Callable[..., Way]) -> None:
    """It is off here, as without a migration, and nothing of it is there."""
    way = ways(persistent=True)
    here, there = way.ends
    with way.migrate("--bandwidth", "4M") as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        here.virsh("destroy", way.domain.name)
        assert attempt.wait_exit(PATIENT) == 1, attempt.log()
    assert "web1 has ended here, and has not run at the destination" in attempt.log()
    assert "web1" in here.virsh("list", "--all", "--name")
    assert there.virsh("list", "--all", "--name") == ""
    assert not way.left(there)
