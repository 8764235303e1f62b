"""SIGTERM to a daemon: what it finishes, what it leaves to the next one, and what a second signal does."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qemu import Qemu
from lab.tunnel import Tunnel
from tests.integration.outcome import arrived, stayed

PLAN = Plan(64 * MIB)


@dataclass
class Receiving:
    """A migration whose memory cannot end yet: the destination's QEMU is not told to run the guest, or the cable is slow."""

    crossing: Crossing
    attempt: Attempt
    gate: Gate

    def draining(self) -> None:
        """The daemon is stopped, and waits."""
        self.crossing.daemon.signal(signal.SIGTERM)
        self.crossing.daemon.wait_log("shutting down: waiting up to ")


@pytest.fixture
def receiving(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> Iterator[Callable[..., Receiving]]:
    """Begins a migration, and stops at the destination's command `held`: `receiving("migrate-incoming", "--drain-timeout", "1s")`."""
    with ExitStack() as ended:

        def begin(held: str, *daemon_options: str) -> Receiving:
            pair = pairs(PLAN)
            pair.source.wait_ticks(5)
            gate = ended.enter_context(Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, held))
            crossing = crossings(pair, qmp=(pair.source.qmp_path, gate.path), daemon_options=daemon_options)
            attempt = crossing.migrate()
            gate.wait_held()
            return Receiving(crossing, attempt, gate)

        yield begin


def copying(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> tuple[Crossing, Attempt]:
    """A migration in the middle of its disk."""
    crossing = crossings(pairs(PLAN))
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate("--bandwidth", "8MiB")
    attempt.wait_copied(8 * MIB)
    return crossing, attempt


def test_disks_that_are_copied_go_on_with_the_next_daemon(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing, attempt = copying(pairs, crossings)
    old = crossing.daemon
    assert old.terminate(20) == 0, old.log()
    assert f"{VM}: session " in old.log()
    assert "is left to the next daemon" in old.log()
    assert not [path for path in crossing.far_run_dir.rglob("*") if path.is_dir() and path.name.startswith("nbdtun-")]
    assert crossing.pair.destination.leftovers() == []  # whether a daemon comes or not
    time.sleep(1)
    assert attempt.last["phase"] == "mirror"
    crossing.start_daemon()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert "the destination's daemon was restarted; copying the disks continues" in attempt.log()
    arrived(crossing)


@pytest.mark.slow
def test_a_daemon_that_is_restarted_again_and_again(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """The next one may be stopped before the source has found it."""
    crossing, attempt = copying(pairs, crossings)
    for _ in range(3):
        assert crossing.daemon.terminate(20) == 0, crossing.daemon.log()
        crossing.start_daemon()
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)


def test_memory_that_arrives_is_waited_for(receiving: Callable[..., Receiving]) -> None:
    moving = receiving("cont")
    crossing, daemon = moving.crossing, moving.crossing.daemon
    moving.draining()
    assert f"waiting up to 10 min (--drain-timeout) for the memory of {VM}; a second signal ends it now" in daemon.log()
    moving.gate.open()
    assert moving.attempt.wait_exit(60) == 0, moving.attempt.log()
    assert daemon.wait_exit(20) == 0, daemon.log()
    assert "left to the next daemon" not in daemon.log()
    arrived(crossing)


def test_nothing_new_begins_meanwhile(receiving: Callable[..., Receiving]) -> None:
    moving = receiving("migrate-incoming")
    moving.draining()
    crossing, pair = moving.crossing, moving.crossing.pair
    with Qemu("two", pair.directory, pair.guest, []) as two:
        elsewhere = ["--qmp", f"{two.qmp_path}", "--run-dir", f"{pair.directory}/elsewhere"]
        refused = crossing.migrate(*elsewhere)
        assert refused.wait_exit(60) == 1
        line = f"{VM}: the destination's daemon is shutting down; migrate it when the daemon has been restarted"
        assert refused.complaints() == [f"nbdtun: {line}"]
        assert refused.last["code"] == "shutting-down"
        told = crossing.command("status", far=True).stdout
        assert f", shutting down, waits for the memory of {VM}; " in told
        assert f"  {VM} arrives from 127.0.0.1:" in told
        checked = crossing.command("check", *crossing.arguments("--no-measure", *elsewhere))
        assert checked.returncode == 1
        assert line in checked.stdout
    moving.gate.open()
    assert moving.attempt.wait_exit(60) == 0, moving.attempt.log()
    arrived(crossing)


@pytest.mark.slow
def test_a_link_that_breaks_meanwhile_is_restored(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    pair = pairs(PLAN)
    pair.source.wait_ticks(5)
    crossing = crossings(pair, cable=True)
    attempt = crossing.migrate()
    crossing.cable.slow(12 * MIB)
    attempt.wait_phase("ram")
    crossing.daemon.signal(signal.SIGTERM)
    crossing.daemon.wait_log("shutting down: waiting up to ")
    crossing.cable.pull(0.5)
    crossing.cable.plug()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert attempt.last["link"]["resumes"] > 0
    assert crossing.daemon.wait_exit(20) == 0, crossing.daemon.log()
    arrived(crossing)


@pytest.mark.slow
def test_when_the_time_is_up_memory_is_ended(receiving: Callable[..., Receiving]) -> None:
    moving = receiving("migrate-incoming", "--drain-timeout", "500ms")
    moving.draining()
    moving.crossing.daemon.wait_log("--drain-timeout (500 ms) has passed: ending the memory of web1")
    moving.gate.open()
    assert moving.attempt.wait_exit(60) == 1
    assert "the destination's daemon was stopped: --drain-timeout (500 ms) has passed" in moving.attempt.complaints()[-1]
    assert moving.crossing.daemon.wait_exit(20) == 0
    stayed(moving.crossing)


def test_a_second_signal_ends_it_at_once(receiving: Callable[..., Receiving]) -> None:
    moving = receiving("migrate-incoming")
    moving.draining()
    moving.crossing.daemon.signal(signal.SIGTERM)
    moving.gate.open()
    assert moving.crossing.daemon.wait_exit(20) == 0
    assert moving.attempt.wait_exit(60) == 1
    assert "the destination's daemon was stopped" in moving.attempt.complaints()[-1]
    stayed(moving.crossing)
    assert moving.crossing.leftovers() == []


@pytest.fixture
def tunnels(directory: Path, memory: Path, tls: Path) -> Iterator[Callable[..., Tunnel]]:
    """Makes one tunnel of two daemons: `tunnels(source_options=[...])`."""
    with ExitStack() as ended:
        yield lambda **options: ended.enter_context(Tunnel(directory, memory, tls, **options))


def entered(tunnel: Tunnel) -> socket.socket:
    """A program that has its channel: the NBD server has greeted it."""
    program = socket.socket(socket.AF_UNIX)
    program.settimeout(20)
    program.connect(f"{tunnel.entrance}")
    assert program.recv(18, socket.MSG_WAITALL).startswith(b"NBDMAGIC")
    return program


@pytest.mark.parametrize("end", ["source", "destination"])
def test_channels_under_way_end_by_themselves(tunnels: Callable[..., Tunnel], end: str) -> None:
    tunnel = tunnels()
    daemon = tunnel.source if end == "source" else tunnel.destination
    with closing(entered(tunnel)):
        daemon.signal(signal.SIGTERM)
        daemon.wait_log("shutting down: waiting up to 10 min (--drain-timeout) for channel nbd ")
        if end == "source":
            wait(lambda: not tunnel.entrance.exists(), 5, "the end of the entrance")
        else:
            with closing(socket.socket(socket.AF_UNIX)) as late:
                late.settimeout(20)
                late.connect(f"{tunnel.entrance}")
                assert late.recv(16) == b""
            assert "target nbd: the destination's daemon is shutting down" in tunnel.source.wait_log("[shutting-down]")
        assert daemon.running()
    assert daemon.wait_exit(20) == 0, daemon.log()


@pytest.mark.parametrize("end", ["source", "destination"])
def test_channels_that_do_not_end_are_ended_by_name(tunnels: Callable[..., Tunnel], end: str) -> None:
    tunnel = tunnels(**{f"{end}_options": ["--drain-timeout", "300ms"]})
    daemon = tunnel.source if end == "source" else tunnel.destination
    with closing(entered(tunnel)) as program:
        daemon.signal(signal.SIGTERM)
        daemon.wait_log("--drain-timeout (300 ms) has passed: ending channel nbd ")
        assert program.recv(1) == b""
    assert daemon.wait_exit(20) == 0, daemon.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_channels_at_once(tunnels: Callable[..., Tunnel], number: signal.Signals) -> None:
    tunnel = tunnels()
    with closing(entered(tunnel)) as program:
        tunnel.source.signal(number)
        tunnel.source.wait_log("shutting down: ")
        tunnel.source.signal(signal.SIGHUP)  # the shell's and the kernel's, for one terminal
        time.sleep(0.3)
        assert tunnel.source.running()
        tunnel.source.signal(number)
        assert tunnel.source.wait_exit(20) == 0
        assert program.recv(1) == b""
