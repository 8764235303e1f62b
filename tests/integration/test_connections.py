"""`nbdtun migrate --connections`: the memory over several channels at a time, by QEMU's multifd, with all that may come between."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qemu import Build
from tests.integration.outcome import arrived, tuned, undisturbed

SMALL = Plan(16 * MIB)
SLOW = 12 * MIB
CONNECTIONS = ["--connections", "3"]
HELPED = [*CONNECTIONS, "--converge", "auto-converge,downtime,write-blocking"]
#: Whose command is held back so that a phase lasts, and which of them. The journal has one entry more than without multifd.
HELD = {
    "ready": ("destination", "migrate-incoming", 1),
    "switchover": ("source", "migrate-continue", 1),
    "handover": ("source", "qom-set", 5),
}


@pytest.fixture(params=["native", pytest.param("recent", marks=pytest.mark.slow)])
def build(request: pytest.FixtureRequest) -> Build:
    found: Build = request.getfixturevalue(f"{request.param}_qemu")
    return found


def channels(crossing: Crossing) -> int:
    """How many channels of the memory the latest session has had, to their end at the destination."""
    names = re.findall(r"channel (ram\.\w+) \w+ is complete", crossing.daemon.log())
    return names.count(names[-1])


def moved(crossing: Crossing, attempt: Attempt) -> None:
    assert attempt.wait_exit(150) == 0, attempt.log()
    assert channels(crossing) == 4  # the main one, too
    arrived(crossing)


def test_memory_that_changes_is_cut_and_arrives_over_several_channels(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], guest: Guest, build: Build
) -> None:
    """QEMU 7.2 takes the first of its connections for the main one: out of order, it ends at once."""
    pair = pairs(SMALL, behaves=replace(guest, ram=8), builds=(build, build))
    pair.source.wait_ticks(5)
    crossing = crossings(pair, cable=True)
    crossing.cable.slow(SLOW)
    attempt = crossing.migrate(*HELPED)
    attempt.wait_phase("ram")
    crossing.cable.wait_bytes(crossing.cable.counters().up + 4 * MIB)
    crossing.cable.plug()
    crossing.cable.pull(1.0)
    moved(crossing, attempt)
    assert attempt.last["link"]["resumes"] >= 4


@pytest.mark.slow
def test_one_that_is_cancelled_leaves_nothing_and_moves_later(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build
) -> None:
    pair = pairs(SMALL, builds=(build, build))
    pair.source.wait_ticks(5)
    crossing = crossings(pair, cable=True)
    crossing.cable.slow(SLOW)
    attempt = crossing.migrate(*CONNECTIONS)
    attempt.wait_phase("ram")
    crossing.cable.wait_bytes(crossing.cable.counters().up + 4 * MIB)
    assert "multifd" in tuned(pair.source)
    assert crossing.command("cancel", VM).returncode == 0
    assert attempt.wait_exit(60) == 130, attempt.log()
    undisturbed(pair)
    wait(lambda: pair.destination.state() == "gone", 60, "the end of the destination's QEMU")
    pair.renew_destination()
    crossing.cable.plug()
    moved(crossing, crossing.migrate(*CONNECTIONS))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 2.0])
@pytest.mark.parametrize("phase", ["mirror", "ready", "switchover", "handover"])
def test_a_cut(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build, phase: str, seconds: float) -> None:
    pair = pairs(SMALL, builds=(build, build))
    pair.source.wait_ticks(5)
    monitors = {"source": pair.source.qmp_path, "destination": pair.destination.qmp_path}
    end, command, nth = HELD.get(phase, ("source", "", 1))
    with Gate(pair.directory / "gate.qmp", monitors[end], command, nth) as gate:
        monitors[end] = gate.path
        crossing = crossings(pair, cable=True, qmp=(monitors["source"], monitors["destination"]))
        attempt = crossing.migrate(*HELPED)
        if command:
            gate.wait_held()
        else:
            attempt.wait_phase(phase)
        crossing.cable.pull(seconds)
        gate.open()
        moved(crossing, attempt)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["ready", "switchover", "handover"])
def test_a_link_that_does_not_come_back(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build, phase: str) -> None:
    pair = pairs(SMALL, builds=(build, build))
    pair.source.wait_ticks(5)
    monitors = {"source": pair.source.qmp_path, "destination": pair.destination.qmp_path}
    end, command, nth = HELD[phase]
    with Gate(pair.directory / "gate.qmp", monitors[end], command, nth) as gate:
        monitors[end] = gate.path
        ways = (monitors["source"], monitors["destination"])
        crossing = crossings(pair, cable=True, qmp=ways, options=["--resume-window", "2s", "--link-timeout", "1s"])
        attempt = crossing.migrate(*CONNECTIONS)
        gate.wait_held()
        crossing.cable.pull()
        gate.open()
        assert attempt.wait_exit(120) == 1, attempt.log()
        undisturbed(pair)
        crossing.cable.plug()
        wait(lambda: pair.destination.state() == "gone", 60, "the end of the destination's QEMU")
        pair.renew_destination()
        moved(crossing, crossing.migrate(*CONNECTIONS))


def sending(pair: Pair, crossing: Crossing) -> Attempt:
    """One that has sent a part of its memory, and has more to send."""
    pair.source.wait_ticks(5)
    crossing.cable.slow(SLOW)
    attempt = crossing.migrate(*CONNECTIONS)
    attempt.wait_phase("ram")
    crossing.cable.wait_bytes(crossing.cable.counters().up + 4 * MIB)
    return attempt


def moves_later(pair: Pair, crossing: Crossing) -> None:
    """The source is undisturbed, and the VM moves to a fresh QEMU."""
    undisturbed(pair)
    pair.renew_destination()
    crossing.cable.plug()
    moved(crossing, crossing.migrate(*CONNECTIONS))


@pytest.mark.slow
def test_a_link_that_is_lost_for_good_while_the_memory_is_sent(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build
) -> None:
    pair = pairs(SMALL, builds=(build, build))
    crossing = crossings(pair, cable=True, options=["--resume-window", "2s", "--link-timeout", "1s"])
    attempt = sending(pair, crossing)
    crossing.cable.pull()
    assert attempt.wait_exit(120) == 1, attempt.log()
    wait(lambda: pair.destination.state() == "gone", 60, "the end of the destination's QEMU")
    moves_later(pair, crossing)


@pytest.mark.slow
def test_one_that_is_cancelled_while_its_link_is_lost(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build) -> None:
    """QEMU's threads wait in sockets that nobody reads: `migrate_cancel` alone would not end them."""
    pair = pairs(SMALL, builds=(build, build))
    crossing = crossings(pair, cable=True)
    attempt = sending(pair, crossing)
    crossing.cable.pull()
    wait(lambda: attempt.last["link"]["state"] != "up", 60, "the loss of the link", attempt)
    assert crossing.command("cancel", VM).returncode == 0
    assert attempt.wait_exit(25) == 130, attempt.log()
    moves_later(pair, crossing)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["qemu", "daemon"])
def test_a_destination_that_is_killed_while_the_memory_is_sent(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], build: Build, killed: str
) -> None:
    pair = pairs(SMALL, builds=(build, build))
    crossing = crossings(pair, cable=True)
    attempt = sending(pair, crossing)
    if killed == "qemu":
        pair.destination.kill()
    else:
        crossing.daemon.kill()
        crossing.start_daemon()
    assert attempt.wait_exit(120) == 1, attempt.log()
    moves_later(pair, crossing)


@pytest.mark.slow
@pytest.mark.parametrize("ways", [("native_qemu", "recent_qemu"), ("recent_qemu", "native_qemu")], ids=["up", "down"])
def test_between_two_releases(
    request: pytest.FixtureRequest, pairs: Callable[..., Pair], crossings: Callable[..., Crossing], ways: tuple[str, str]
) -> None:
    pair = pairs(SMALL, builds=tuple(map(request.getfixturevalue, ways)))
    pair.source.wait_ticks(5)
    crossing = crossings(pair)
    moved(crossing, crossing.migrate(*CONNECTIONS))
