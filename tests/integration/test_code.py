"""A code on the telephone: `nbdtun receive` at one host, `nbdtun plan`, `check` and `migrate --code` at the other, and nothing else."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.cable import Cable
from lab.crossing import VM, Attempt
from lab.daemon import BIN, free_port
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import MARK, Process, wait
from lab.qemu import Build
from lab.qmp import Qmp
from tests.integration.host import Host, write
from tests.integration.lines import LINES


class Receiving(Process):
    """`nbdtun receive`, which has printed its code."""

    def __init__(self, directory: Path, port: int, *more: str, name: str = "receive") -> None:
        words = [VM, "--listen", f"127.0.0.1:{port}", "--run-dir", f"{directory}/far", *more]
        super().__init__([f"{BIN}/nbdtun", "receive", *words], directory / f"{name}.log")
        wait(lambda: "the code is " in self.log(), 180, "the code", self)

    @property
    def code(self) -> str:
        return self.log().partition("the code is ")[2].partition(",")[0]


def migrate(directory: Path, port: int, code: str, number: int = 1) -> Attempt:
    words = [VM, "--qmp", f"{directory}/src.qmp", "--to", f"127.0.0.1:{port}", "--code", code]
    return Attempt(directory, *words, "--run-dir", f"{directory}/run", "--settle", "200ms", number=number)


def test_a_vm_moves_by_a_code(pairs: Callable[..., Pair], directory: Path) -> None:
    pair, port = pairs(Plan(32 * MIB), paused=True), free_port()
    waiting = ("--incoming", f"{directory}/dst.qmp")
    with ExitStack() as held:
        wrong = held.enter_context(Receiving(directory, port, *waiting, name="wrong"))
        code = "7-crossover-clockwork" if wrong.code != "7-crossover-clockwork" else "8-crossover-clockwork"
        refused = held.enter_context(migrate(directory, port, code, 1))
        assert refused.wait_exit(180) == wrong.wait_exit(180) == 1
        assert refused.complaints() == ["nbdtun: the code is wrong; the destination's offer has ended: let it make another code"]
        assert wrong.log().splitlines()[1:] == [
            "nbdtun: a source came with a wrong code; the offer has ended; run `nbdtun receive` again for another code [wrong-code]"
        ]
        assert pair.source.leftovers() == pair.destination.leftovers() == []

        receiving = held.enter_context(Receiving(directory, port, *waiting))
        attempt = held.enter_context(migrate(directory, port, receiving.code.upper(), 2))
        assert attempt.wait_exit(300) == 0, attempt.log()
        assert receiving.wait_exit(180) == 0, receiving.log()
        told = receiving.log().splitlines()
        assert told[1] == f"nbdtun: {VM}: the source has come with the code"
        assert told[-1] == f"nbdtun: {VM}: it has arrived, in the QEMU with the monitor {directory}/dst.qmp"
        pair.source.wait_exit()
        assert pair.destination.status() == "prelaunch"  # as it was at the source
        assert [path for end in ("run", "far") for path in (directory / end).rglob("*")] == []


class ByCode(Host):
    """A VM whose destination is to be made by a code."""

    def __init__(self, directory: Path, build: Build) -> None:
        super().__init__(directory, build)
        self.port = free_port()
        self.code = ""

    def receive(self, name: str = "receive") -> Receiving:
        receiving = self.ended.enter_context(Receiving(self.here.parent, self.port, name=name))
        self.code = receiving.code
        return receiving

    def words(self, command: str, *more: str) -> list[str]:
        there = ["--qmp", f"{self.qmp}", "--to", f"127.0.0.1:{self.port}", "--code", self.code, "--map", f"{self.here}={self.there}"]
        near = [] if command == "plan" else ["--run-dir", f"{self.here.parent}/run", "--settle", "200ms"]
        quiet = ["--progress", "none"] if command == "migrate" else []
        return [f"{BIN}/nbdtun", command, VM, *there, *near, *quiet, *more]

    def run(self, command: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(command, *more), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)

    def begin(self, *more: str) -> Process:
        return self.ended.enter_context(Process(self.words("migrate", *more), self.here.parent / "attempt.log"))

    def leftovers(self) -> list[str]:
        ends = (self.here.parent / "run", self.here.parent / "far")
        return sorted(f"{path.relative_to(self.here.parent)}" for end in ends for path in end.rglob("*") if not path.is_dir())


@pytest.fixture
def by_code(directory: Path, native_qemu: Build) -> Iterator[ByCode]:
    one = ByCode(directory, native_qemu)
    one.images()
    with one.ended:
        yield one


def test_a_destination_is_planned_checked_and_made_by_one_code(by_code: ByCode) -> None:
    """Each command takes the same code, at once after the other."""
    source = by_code.start(LINES["drive"])
    receiving = by_code.receive()
    planned = by_code.run("plan", "--json")
    told = json.loads(planned.stdout)
    assert (told["fit"], told["directories"]) == (True, [f"{by_code.there}"])
    checked = by_code.run("check")
    assert checked.stdout.startswith(f"ok       code                 {VM}: to 127.0.0.1:{by_code.port} by the code, under TLS 1.3"), checked
    assert "its destination can be made there, with QEMU " in checked.stdout
    assert not by_code.there.exists()
    _arrives(by_code, source, receiving)
    again = f"nbdtun: {VM}: the source has left, and the code is still {by_code.code}, for 10 min"
    assert receiving.log().splitlines().count(again) == 2


def _arrives(by_code: ByCode, source: Process, receiving: Receiving) -> None:
    """The VM moves now, its disk is the same there, and nothing of ours is left at either end."""
    done = by_code.run("migrate")
    assert done.returncode == 0, done.stderr + receiving.log()
    _arrived(by_code, source, receiving)


def _arrived(by_code: ByCode, source: Process, receiving: Receiving) -> None:
    assert receiving.wait_exit(60) == 0, receiving.log()
    source.wait_exit(20)
    qmp = Qmp(by_code.there / "lab.qmp")
    assert qmp("query-status")["status"] == "running"
    qmp("quit")
    wait(lambda: not (by_code.there / "qemu.pid").exists(), 10, "the destination's end")
    subprocess.run(["qemu-img", "compare", by_code.here / "a.qcow2", by_code.there / "a.qcow2"], check=True, capture_output=True)
    assert by_code.leftovers() == []


def _copying(by_code: ByCode, *more: str) -> tuple[Process, Process]:
    """The source's QEMU, and a migration whose first bytes of the disk have arrived."""
    write(by_code.here / "a.qcow2", "qcow2", 0x44, 4)
    write(by_code.here / "a.qcow2", "qcow2", 0x45, 8)
    source = by_code.start(LINES["drive"])
    attempt = by_code.begin("--bandwidth", "512KiB", "--resume-window", "2s", *more)
    there = by_code.there / "a.qcow2"
    wait(lambda: there.exists() and there.stat().st_blocks * 512 > 1 << 20, 60, "the copy", attempt, pause=0.01)
    return source, attempt


@pytest.mark.slow
def test_a_cable_that_is_pulled(by_code: ByCode, directory: Path) -> None:
    """The channel to the receiver outlives it, as all do."""
    receiving = by_code.receive()
    with Cable(directory, by_code.port) as cable:
        by_code.port = cable.port
        source, attempt = _copying(by_code, "--resume-window", "1min")
        cable.pull(3)
        assert attempt.wait_exit(120) == 0, attempt.log()
        _arrived(by_code, source, receiving)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_source_that_ends_lets_the_code_stand(by_code: ByCode, how: signal.Signals) -> None:
    """What was made for it goes, and a second attempt takes the same code."""
    receiving = by_code.receive()
    source, attempt = _copying(by_code)
    attempt.signal(how)
    attempt.wait_exit(30)
    wait(lambda: "the code is still" in receiving.log(), 60, "the code", receiving)
    assert not by_code.there.exists()
    _arrives(by_code, source, receiving)


class Attended:
    """`nbdtun receive` on a terminal of its own."""

    def __init__(self, directory: Path, port: int) -> None:
        self._terminal, end = pty.openpty()
        self._shown = b""
        self.process = subprocess.Popen(
            [f"{BIN}/nbdtun", "receive", VM, "--listen", f"127.0.0.1:{port}", "--run-dir", f"{directory}/far"],
            env={**os.environ, MARK: f"{os.getpid()}"},
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(end)
        self.wait_shown(b", for 10 min")
        self.code = self._shown.decode().partition("the code is ")[2].partition(",")[0]

    def wait_shown(self, text: bytes) -> None:
        while text not in self._shown:
            self._shown += os.read(self._terminal, 65536)

    def close_terminal(self) -> None:
        """As a torn ssh session does it: SIGHUP, and nothing can be written any more."""
        os.close(self._terminal)


@pytest.mark.slow
def test_a_receiver_whose_terminal_is_closed_serves_the_source_that_is_there(by_code: ByCode, directory: Path) -> None:
    """Before one has come, it ends."""
    lonely = Attended(directory, by_code.port)
    lonely.close_terminal()
    assert lonely.process.wait(30) == 130
    receiving = Attended(directory, by_code.port)
    by_code.code = receiving.code
    source, attempt = _copying(by_code, "--resume-window", "1min")
    receiving.wait_shown(b"the source has come with the code")
    receiving.close_terminal()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert receiving.process.wait(60) == 0
    source.wait_exit(20)
    assert Qmp(by_code.there / "lab.qmp")("query-status")["status"] == "running"
    log = (directory / "far/receive-web1.log").read_text()
    assert "web1: the terminal was closed; the source's work goes on here, and then `nbdtun receive` ends" in log
    assert "web1: it has arrived, in the QEMU with the monitor " in log
    Qmp(by_code.there / "lab.qmp")("quit")
    wait(lambda: not (by_code.there / "qemu.pid").exists(), 10, "the destination's end")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_receiver_that_ends_ends_the_migration(by_code: ByCode, how: signal.Signals) -> None:
    """The guest stays in one line. The next receiver removes what a killed one has left."""
    receiving = by_code.receive()
    source, attempt = _copying(by_code)
    receiving.signal(how)
    receiving.wait_exit(30)
    assert attempt.wait_exit(60) == 1, attempt.log()
    assert "web1 was not migrated; it is still running at the source" in attempt.log().splitlines()[-1]
    assert Qmp(by_code.here / "lab.qmp")("query-status")["status"] == "running"
    assert by_code.there.exists() == (how is signal.SIGKILL)
    _arrives(by_code, source, by_code.receive("another"))
