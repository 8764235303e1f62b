"""`nbdtun reload --program`: a daemon's program is replaced, as often as one likes, and nothing that is under way is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lab.daemon import BIN, Daemon, free_port, listening, unix_listening
from lab.disks import MIB
from lab.process import marked, wait


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Programs:
    """The processes of one daemon, the first of them started by a test; and the command that makes the next one."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `nbdtun` at the destination's host."""
        run = [f"{BIN}/nbdtun", *words, "--run-dir", f"{self._run_dir}"]
        return subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)

    def replace(self, *words: str) -> int:
        """Replace the present program; the process of the new one."""
        told = self.command("reload", "--program", *(words or self._newest()))
        assert told.returncode == 0, told
        return int(told.stdout.partition(": process ")[2].split()[0])

    def _newest(self) -> list[str]:
        """The destination's, where a source runs beside it."""
        reports = map(json.loads, self.command("status", "--json").stdout.splitlines())
        return [f"@{each['pid']}" for each in reports if each["name"] == "nbdtun-dest" and each["state"] == "serving"]

    @property
    def running(self) -> list[int]:
        """All of them."""
        return sorted(pid for pid, words in marked().items() if " dest --" in words and f"{self._run_dir}" in words and alive(pid))

    def end(self) -> None:
        """Stop the daemon as a whole, in good order."""
        for pid in self.running[-1:]:
            os.kill(pid, signal.SIGTERM)
        wait(lambda: not self.running, 20, "the end of all programs")


@pytest.fixture
def programs(directory: Path) -> Iterator[Callable[[str], Programs]]:
    made: list[Programs] = []

    def make(run_dir: str) -> Programs:
        made.append(Programs(directory / run_dir))
        return made[-1]

    yield make
    for each in made:
        for pid in each.running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Ends:
    """A daemon with one target, a source with a forward to it, and local programs at both."""

    def __init__(self, directory: Path, ended: ExitStack, *options: str) -> None:
        self.directory, self._ended = directory, ended
        self.port = free_port()
        self.there = ended.enter_context(socket.socket(socket.AF_UNIX))
        self.there.settimeout(20)
        self.there.bind(f"{directory}/there")
        self.there.listen()
        common = ["--run-dir", f"{directory}/run", "--drain-timeout", "1s", "--resume-window", "3s", *options]
        words = ["--listen", f"tcp:{self.port}:interface=127.0.0.1", "--target", f"a=unix:{directory}/there", *common]
        (directory / "dest.toml").touch()
        self.dest = ended.enter_context(Daemon(directory, "nbdtun-dest", *words, "--config", f"{directory}/dest.toml"))
        self.dest.wait_port(self.port)
        (directory / "flag").touch()
        (directory / "source.toml").touch()
        words = ["--connect", f"tcp:127.0.0.1:{self.port}", "--forward", f"a=unix:{directory}/here", *common]
        words += ["--config", f"{directory}/source.toml"]
        self.source = ended.enter_context(Daemon(directory, "nbdtun-source", *words))
        self.source.wait_log("answers")

    def meet(self) -> tuple[socket.socket, socket.socket]:
        """A channel, with a program at either end."""
        near = self.connect()
        far = self._ended.enter_context(self.there.accept()[0])
        far.settimeout(20)
        return near, far

    def connect(self) -> socket.socket:
        """A program's connection to the forward."""
        near = self._ended.enter_context(socket.socket(socket.AF_UNIX))
        near.settimeout(20)
        near.connect(f"{self.directory}/here")
        return near

    def cut(self) -> None:
        """The kernel ends all connections of the port, as a firewall that has forgotten them."""
        subprocess.run(["ss", "-K", "dst", "127.0.0.1", "dport", "=", f"{self.port}"], check=True, stdout=subprocess.DEVNULL)


def passes(one: socket.socket, other: socket.socket) -> bool:
    """Whether bytes get from one to the other, and back."""
    one.sendall(b"there")
    there = other.recv(5)
    other.sendall(b"back")
    return (there, one.recv(4)) == (b"there", b"back")


@pytest.fixture
def ends(directory: Path, tls: Path) -> Iterator[Callable[..., Ends]]:
    with ExitStack() as ended:
        yield lambda *options: Ends(directory, ended, *(options or ("--tls-dir", f"{tls}")))


def test_channels_outlive_their_program(ends: Callable[..., Ends], programs: Callable[[str], Programs]) -> None:
    """Three programs, a channel of each, and every link is cut; then each ends with its last channel, and what remains is one daemon."""
    these, those = ends(), programs("run")
    channels = [these.meet()]
    pids = [these.dest.pid]
    for _ in range(2):
        pids.append(those.replace())
        channels.append(these.meet())
        these.cut()
        assert all(passes(*each) for each in channels)
    status = those.command("status").stdout
    assert f"nbdtun-dest (pid {pids[0]}): was replaced by process {pids[1]}, and keeps what it has until that ends" in status
    assert f"nbdtun-dest (pid {pids[2]}): listens on tcp:{these.port}" in status
    assert those.running == sorted(pids)
    refused = those.command("reload", "--program", f"@{pids[0]}")
    assert (refused.returncode, refused.stderr) == (1, f"nbdtun: this program was replaced; ask @{pids[1]} [migration]\n")
    for each in channels[0]:
        each.close()
    wait(lambda: those.running == sorted(pids[1:]), 15, "the end of the first program")
    assert these.dest.wait_exit(5) == 0
    assert all(passes(*each) for each in channels[1:])
    assert "failed" not in these.source.log()
    those.end()


def test_a_program_that_does_not_take_over_changes_nothing(
    ends: Callable[..., Ends], programs: Callable[[str], Programs], directory: Path
) -> None:
    """It has a mistake in its file, or cannot go on with links; or it is killed after it took over. The one before it accepts again."""
    these, those = ends(), programs("run")
    channel = these.meet()
    for mistake in ("lsten = 1", 'records = "library"'):
        (directory / "dest.toml").write_text(mistake)
        refused = those.command("reload", "--program", f"@{these.dest.pid}")
        assert refused.returncode == 1
        assert "the new program ended before it took over; nothing has changed; the daemon's log has its reason" in refused.stderr
        wait(lambda: those.running == [these.dest.pid], 10, "the end of the new program")
        assert passes(*channel)
        assert passes(*these.meet())
    assert "there is no option lsten" in these.dest.log()
    assert "TLS records are made by OpenSSL (--records library)" in these.dest.log()
    (directory / "dest.toml").write_text("")
    later = those.replace()
    os.kill(later, signal.SIGKILL)
    these.dest.wait_log(f"process {later}, which had taken over, is gone: this program accepts connections again")
    these.cut()
    assert passes(*channel)
    assert passes(*these.meet())
    again = those.replace()
    assert passes(*these.meet())
    assert those.running == sorted([these.dest.pid, again])
    those.end()


def test_a_sources_channels_outlive_their_program(ends: Callable[..., Ends], programs: Callable[[str], Programs]) -> None:
    """The old process dials for its own; local programs connect to the new one, and its limits count them all."""
    these, those = ends(), programs("run")
    (these.directory / "source.toml").write_text("max-channels-per-user = 2\n")
    old = these.meet()
    told = those.command("reload", "--program", f"@{these.source.pid}")
    assert told.returncode == 0, told
    newer = int(told.stdout.partition(": process ")[2].split()[0])
    new = these.meet()
    these.cut()
    assert passes(*old)
    assert passes(*new)
    third = these.connect()
    assert third.recv(1) == b""  # a third one of this user
    these.source.wait_log("its limit of 2 channels for one local user (--max-channels-per-user)")
    for each in old:
        each.close()
    assert these.source.wait_exit(15) == 0
    assert passes(*new)
    assert passes(*these.meet())
    os.kill(newer, signal.SIGTERM)
    wait(lambda: not alive(newer), 15, "the end of the new program")
    assert not (these.directory / "here").exists()
    those.end()


def test_one_bandwidth_for_all_programs(ends: Callable[..., Ends], programs: Callable[[str], Programs], tls: Path) -> None:
    """A channel of each of two programs at the source; together they send what one may."""
    these, those = ends("--tls-dir", f"{tls}", "--bandwidth", "20MiB"), programs("run")
    channels = [these.meet()]
    told = those.command("reload", "--program", f"@{these.source.pid}")
    assert told.returncode == 0, told
    channels.append(these.meet())
    got, stop = [0, 0], threading.Event()
    threads = [threading.Thread(target=send, args=(near, stop)) for near, _ in channels]
    threads += [threading.Thread(target=count, args=(far, got, number)) for number, (_, far) in enumerate(channels)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    began, before = time.monotonic(), sum(got)
    time.sleep(3)
    rate = (sum(got) - before) / (time.monotonic() - began)
    stop.set()
    for end in (each for pair in channels for each in pair):
        end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(20)
    assert rate == pytest.approx(20 * MIB, rel=0.05)
    assert min(got) > MIB
    os.kill(int(told.stdout.partition(": process ")[2].split()[0]), signal.SIGTERM)
    wait(lambda: not [words for pid, words in marked().items() if " source --" in words and alive(pid)], 20, "the end of the source")
    those.end()


def send(near: socket.socket, stop: threading.Event) -> None:
    """Send as much as is taken."""
    with suppress(OSError):
        while not stop.is_set():
            near.sendall(bytes(65536))


def count(far: socket.socket, got: list[int], number: int) -> None:
    """Count what arrives."""
    with suppress(OSError):
        while data := far.recv(1 << 20):
            got[number] += len(data)


#: Notes each import of a process that begins while the file `flag` is there.
WATCH = """
import os, sys
def hook(event, arguments, here=os.path.dirname(__file__)):
    if event == "import" and os.path.exists(f"{here}/flag"):
        with open(f"{here}/late.{os.getpid()}", "a") as late:
            late.write(f"{arguments[0]}\\n")
sys.addaudithook(hook)
"""


def test_an_old_program_loads_nothing_that_may_be_of_another_release(
    ends: Callable[..., Ends], programs: Callable[[str], Programs], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files on disk are the next release's, while it goes on for hours."""
    (directory / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", f"{directory}")
    these, those = ends(), programs("run")
    old = these.meet()
    those.replace()
    these.cut()
    assert passes(*old)
    assert those.command("status").returncode == 0
    for each in old:
        each.close()
    assert these.dest.wait_exit(15) == 0
    late = directory / f"late.{these.dest.pid}"
    assert not late.exists(), late.read_text()
    assert list(directory.glob("late.*"))  # the others are noted, the new program's for example
    those.end()


def test_its_metrics_go_over_too(directory: Path, programs: Callable[[str], Programs]) -> None:
    """Their port as well, and a UNIX socket that is listened on; one that the new program has no use for is given up."""
    those, port = programs("run"), free_port()
    file, run = directory / "dest.toml", directory / "run"
    file.write_text(f'listen = "unix:{directory}/first"\nmetrics = "127.0.0.1:{port}"\n')
    words = ["--config", f"{file}", "--target", f"a=unix:{directory}/there", "--insecure", "--run-dir", f"{run}"]
    with Daemon(directory, "nbdtun-dest", *words) as dest:
        dest.wait_socket(directory / "first")
        assert b"nbdtun_" in scraped(port)
        those.replace()
        assert b"nbdtun_" in scraped(port)
        assert unix_listening(directory / "first")
        file.write_text(f'listen = "unix:{directory}/second"\n')
        newest = those.replace()
        assert unix_listening(directory / "second")
        assert not (directory / "first").exists()
        assert not listening(port)
        wait(lambda: those.running == [newest], 15, "the end of the programs that have nothing")
        assert unix_listening(directory / "second")
        those.end()
    assert not (directory / "second").exists()


def scraped(port: int) -> bytes:
    """The metrics that are served."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        told: bytes = answer.read()
    return told
