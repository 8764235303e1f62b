"""`nbdtun migrate` on a terminal that goes away, in each phase: it goes on, says so in its log, and obeys as before."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from lab.crossing import VM, Crossing
from lab.daemon import BIN
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import MARK, wait
from tests.integration.outcome import arrived, stayed

PLAN = Plan(32 * MIB, filled=1.0)

#: What the bars say in a phase, and whose command is held back there.
PHASES = {
    "prepare": ("preparing", "destination", "nbd-server-start"),
    "mirror": ("copying disks", "", ""),
    "ready": ("disks in sync", "destination", "migrate-incoming"),
    "ram": ("copying memory", "", ""),
    "switchover": ("switching over", "source", "migrate-continue"),
    "finish": ("starting at the destination", "destination", "cont"),
}
QUICK = ("ram",)


def phases(*left_out: str) -> list[object]:
    marked = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in PHASES if name not in left_out]
    return list(marked)


class Attended:
    """`nbdtun migrate` on a terminal of its own, which it controls."""

    def __init__(self, crossing: Crossing, *options: str) -> None:
        self.crossing = crossing
        self.shown = b""
        self._terminal, end = pty.openpty()
        self._process = subprocess.Popen(
            [BIN / "nbdtun", "migrate", *crossing.arguments(*options)],
            env={**os.environ, MARK: f"{os.getpid()}", "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(end)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.crossing.run_dir / f"{VM}.log"

    def wait_shown(self, text: str) -> None:
        while text.encode() not in self.shown:
            self.shown += os.read(self._terminal, 65536)

    def wait_log(self, text: str) -> str:
        wait(lambda: self.log.exists() and text in self.log.read_text(), 60, f"{text!r} in {self.log}")
        return self.log.read_text()

    def type(self, key: bytes) -> None:
        os.write(self._terminal, key)

    def close_terminal(self) -> None:
        """As a closed window does it: SIGHUP, and nothing can be written any more."""
        os.close(self._terminal)
        self._terminal = -1

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait_exit(self) -> int:
        return self._process.wait(60)

    def stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._terminal >= 0:
            os.close(self._terminal)


@pytest.fixture
def attended(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> Iterator[Callable[..., tuple[Attended, Gate | None]]]:
    """Begins a migration on a terminal, and waits until it shows a phase: `attended("ram")`; also returns what holds it up there."""
    with ExitStack() as ended:

        def begin(phase: str) -> tuple[Attended, Gate | None]:
            words, end, command = PHASES[phase]
            pair = pairs(PLAN)
            pair.source.wait_ticks(5)
            monitors, gate = {"source": pair.source.qmp_path, "destination": pair.destination.qmp_path}, None
            if command:
                gate = ended.enter_context(Gate(pair.directory / "gate.qmp", monitors[end], command))
                monitors[end] = gate.path
            crossing = crossings(pair, qmp=(monitors["source"], monitors["destination"]))
            attending = ended.enter_context(Attended(crossing, "--bandwidth", "8MiB"))
            attending.wait_shown(words)
            if gate is not None:
                gate.wait_held()
            return attending, gate

        yield begin


@pytest.mark.parametrize("phase", phases())
def test_it_goes_on(attended: Callable[..., tuple[Attended, Gate | None]], phase: str) -> None:
    one, gate = attended(phase)
    one.close_terminal()
    one.wait_log("the terminal was closed; the migration goes on: `nbdtun status` shows it, `nbdtun cancel` rolls it back")
    told = one.crossing.command("status", VM)
    assert told.stdout.rstrip().endswith(f"its terminal was closed, messages go to {one.log}"), told
    if gate is not None:
        gate.open()
    if phase not in ("switchover", "finish"):
        assert one.crossing.command("set", VM, "--bandwidth", "none").returncode == 0
    assert one.wait_exit() == 0, one.log.read_text()
    assert f"nbdtun[{one.pid}]: {VM}: runs at the destination; total " in one.log.read_text()
    assert "Traceback" not in one.log.read_text()
    assert one.log.stat().st_mode & 0o777 == 0o600
    one.log.unlink()
    arrived(one.crossing)


@pytest.mark.parametrize("phase", phases("finish"))
def test_it_obeys_signals(attended: Callable[..., tuple[Attended, Gate | None]], phase: str) -> None:
    one, gate = attended(phase)
    one.close_terminal()
    one.wait_log("the terminal was closed")
    one.signal(signal.SIGHUP)
    one.signal(signal.SIGINT if phase == "ram" else signal.SIGTERM)
    one.wait_log("interrupted, rolling back")
    one.signal(signal.SIGTERM)
    if gate is not None:
        gate.open()
    assert one.wait_exit() == 130
    log = one.log.read_text()
    assert f"{VM}: was not migrated; it is still running at the source" in log
    assert "Traceback" not in log
    one.log.unlink()
    stayed(one.crossing)
    assert one.crossing.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["mirror", "ram"])
def test_it_obeys_cancel(attended: Callable[..., tuple[Attended, Gate | None]], phase: str) -> None:
    one, _ = attended(phase)
    one.close_terminal()
    assert one.crossing.command("cancel", VM).returncode == 0
    assert one.wait_exit() == 130
    assert "cancelled by another command, rolling back" in one.log.read_text()
    stayed(one.crossing)


@pytest.mark.slow
def test_sigterm_after_the_handover_changes_nothing(attended: Callable[..., tuple[Attended, Gate]]) -> None:
    one, gate = attended("finish")
    one.close_terminal()
    one.signal(signal.SIGTERM)
    one.wait_log("too late to interrupt: the destination is taking over")
    gate.open()
    assert one.wait_exit() == 0
    one.log.unlink()
    arrived(one.crossing)


@pytest.mark.slow
def test_ctrl_z_stops_it_only_where_the_guest_cannot_stay_paused(attended: Callable[..., tuple[Attended, Gate]]) -> None:
    one, _ = attended("mirror")
    one.type(b"\x1a")
    wait(one.stopped, 5, "its stop")
    one.signal(signal.SIGCONT)
    one.wait_shown("copying memory")
    one.type(b"\x1a")
    one.wait_shown("Ctrl-Z is ignored in this phase")
    assert not one.stopped()
    one.type(b"\x03")
    one.wait_shown("interrupted, rolling back")
    one.type(b"\x03")
    assert one.wait_exit() == 130
    stayed(one.crossing)


def test_nohup_is_heeded_and_a_lost_pipe_is_noticed(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """Below nohup SIGHUP changes nothing; and an ssh connection without a terminal leaves pipes that nobody reads."""
    crossing = crossings(pairs(PLAN))
    crossing.pair.source.wait_ticks(5)
    command = ["nohup", f"{BIN}/nbdtun", "migrate", *crossing.arguments("--bandwidth", "16MiB")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as migrating:
        assert migrating.stdout is not None
        assert migrating.stderr is not None
        assert b"preparing" in migrating.stdout.readline()
        migrating.stdout.close()
        migrating.stderr.close()
        time.sleep(1)
        migrating.send_signal(signal.SIGHUP)
        assert migrating.wait(60) == 0
    log = crossing.run_dir / f"{VM}.log"
    assert "runs at the destination" in log.read_text()
    assert "the terminal was closed" not in log.read_text()
    log.unlink()
    arrived(crossing)
