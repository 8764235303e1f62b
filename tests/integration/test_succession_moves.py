"""A migration whose destination gets another program meanwhile: it goes on, or fails in good order and a second try moves the VM."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.daemon import Daemon
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import wait
from lab.programs import Programs
from tests.integration.outcome import arrived, stayed, undisturbed


def moves(attempt: Attempt, those: Programs, crossing: Crossing) -> None:
    """It ends well, and so do all programs; the guest is at the destination."""
    assert attempt.wait_exit(120) == 0, attempt.log()
    those.end()
    arrived(crossing)


def test_a_migration_goes_on_through_two_reloads(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """While its disk is copied, over links that are cut; its memory's channels come later, to the newest program."""
    pair = pairs(Plan(64 * MIB))
    crossing = crossings(pair, cable=True, daemon=Daemon)
    those = programs("far")
    pair.source.wait_ticks(5)
    attempt = crossing.migrate("--bandwidth", "16MiB")
    attempt.wait_copied(8 * MIB)
    those.replace()
    crossing.cable.pull(0.3)
    crossing.cable.plug()
    newest = those.replace()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert "daemon was restarted" not in attempt.log()
    assert newest in those.running
    those.end()
    arrived(crossing)


@pytest.mark.slow
@pytest.mark.parametrize("held", ["nbd-server-start", "migrate-incoming", "cont"])
def test_two_reloads_in_each_phase(
    held: str, pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """While the destination prepares, before the memory is sent, and while it is handed over; each time a link is lost as well."""
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    with Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, held) as gate:
        crossing = crossings(pair, cable=True, qmp=(pair.source.qmp_path, gate.path), daemon=Daemon)
        those = programs("far")
        attempt = crossing.migrate()
        gate.wait_held()
        those.replace()
        those.replace()
        crossing.cable.pull(0.3)
        crossing.cable.plug()
        gate.open()
        moves(attempt, those, crossing)


@pytest.mark.slow
def test_a_killed_sources_session_is_found_by_the_next_source(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """It is in the old process, and its QEMU's monitor too: the question is passed on to it, which ends the session."""
    pair = pairs(Plan(64 * MIB))
    crossing = crossings(pair, daemon=Daemon)
    those = programs("far")
    pair.source.wait_ticks(5)
    attempt = crossing.migrate("--bandwidth", "2MiB")
    attempt.wait_copied(2 * MIB)
    those.replace()
    assert attempt.last["phase"] == "mirror"
    attempt.kill()
    again = crossing.migrate()
    moves(again, those, crossing)


@pytest.mark.slow
def test_one_that_is_held_goes_on_through_two_reloads(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """Most of its memory is at the destination, in the first program's channels; then it switches over."""
    pair = pairs(Plan(16 * MIB), memory=(320 << 10) + 8)
    crossing = crossings(pair, cable=True, daemon=Daemon)
    those = programs("far")
    pair.source.wait_ticks(3)
    attempt = crossing.migrate("--hold")
    attempt.wait_phase("holding")
    those.replace()
    crossing.cable.cut()
    those.replace()
    pair.source.wait_ticks(2)
    assert attempt.last["phase"] == "holding"
    told = crossing.command("set", VM, "--switchover", "now")
    assert told.returncode == 0, told.stderr
    moves(attempt, those, crossing)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["old", "new"])
@pytest.mark.parametrize("held", ["nbd-server-start", "migrate-incoming"])
def test_one_of_them_is_killed(
    killed: str, held: str, pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """Without the old one the migration fails, the guest goes on, and the next one moves it. Without the new one nothing happens."""
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    with Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, held) as gate:
        crossing = crossings(pair, cable=True, qmp=(pair.source.qmp_path, gate.path), daemon=Daemon)
        those = programs("far")
        attempt = crossing.migrate()
        gate.wait_held()
        newest = those.replace()
        those.lose(crossing.daemon.pid if killed == "old" else newest)
        crossing.cable.cut()
        gate.open()
        fails = killed == "old"
        assert attempt.wait_exit(120) == int(fails), attempt.log()
        if fails:
            undisturbed(pair)
            again = crossing.migrate()
            assert again.wait_exit(120) == 0, again.log()
        those.end()
        arrived(crossing)


@pytest.mark.slow
def test_the_old_one_is_killed_while_a_disk_is_copied(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """Its channels end by name. QEMU connects its disk again, through the new program, which finds the session; the copy goes on."""
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    crossing = crossings(pair, daemon=Daemon)
    those = programs("far")
    attempt = crossing.migrate("--bandwidth", "2MiB")
    attempt.wait_copied(2 * MIB)
    newest = those.replace()
    assert attempt.last["phase"] == "mirror"
    those.lose(crossing.daemon.pid)
    log = attempt.wait_log("the destination's daemon was restarted; copying the disks continues", 60)
    lost = re.findall(r"channel \S+ ([0-9a-f]{8}): link lost", log)
    assert len(lost) == 2  # of the session, and of the disk
    refused = [f"the destination has no channel {each} of this source (any more)" for each in lost]
    wait(lambda: all(each in crossing.daemon.log() for each in refused), 20, "the end of both")
    assert those.running == [newest]
    told = those.command("status").stdout
    assert f"(pid {crossing.daemon.pid})" not in told
    assert f"(pid {newest})" in told
    assert crossing.command("set", VM, "--bandwidth", "none").returncode == 0
    moves(attempt, those, crossing)


@pytest.mark.slow
def test_the_time_of_an_old_program_is_up(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """It leaves the session that copies a disk to the new program, where the migration goes on; before, it cannot be done."""
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    crossing = crossings(pair, cable=True, daemon=Daemon)
    those = programs("far")
    attempt = crossing.migrate("--bandwidth", "256KiB")
    attempt.wait_copied(MIB // 4)
    newest = those.replace("--drain-timeout", "1s")
    wait(lambda: those.running == [newest], 60, "the end of the old program")
    assert attempt.last["phase"] == "mirror"
    assert crossing.command("set", VM, "--bandwidth", "none").returncode == 0
    moves(attempt, those, crossing)


@pytest.mark.slow
def test_the_time_is_up_while_memory_is_sent(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], programs: Callable[..., Programs]
) -> None:
    """It cannot be left to another program: the migration fails when the daemon's own time has passed too, and the guest goes on."""
    pair = pairs(Plan(16 * MIB), memory=(320 << 10) + 8)
    pair.source.wait_ticks(3)
    crossing = crossings(pair, cable=True, daemon=Daemon, daemon_options=["--drain-timeout", "2s"])
    those = programs("far")
    attempt = crossing.migrate("--hold")
    attempt.wait_phase("holding")
    newest = those.replace("--drain-timeout", "1s")
    wait(lambda: those.running == [newest], 30, "the end of the old program")
    assert attempt.wait_exit(60) == 1, attempt.log()
    assert "the destination's daemon was stopped: --drain-timeout (2.0 s) has passed" in attempt.log()
    undisturbed(pair)
    wait(lambda: pair.destination.state() == "gone", 60, "the end of the destination's QEMU")
    stayed(crossing)
    pair.renew_destination()
    again = crossing.migrate()
    moves(again, those, crossing)
