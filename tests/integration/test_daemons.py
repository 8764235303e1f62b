"""How daemons start and end: in the foreground, and behind the terminal that twistd leaves; and what they say when they cannot."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.daemon import BIN, Detached, Twistd, free_port


@pytest.fixture
def detached(directory: Path) -> Iterator[Callable[..., Detached]]:
    """Starts daemons that are stopped with the test."""
    with ExitStack() as ended:

        def start(plugin: str, *options: str) -> Detached:
            started = Detached(directory, plugin, "--run-dir", f"{directory}/run", *options)
            ended.callback(started.stop)
            return started

        yield start


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nbdtun-dest", "--listen", "tcp:10810", "--target", "nbd=unix:/x"], "without --tls-dir"),
        (["nbdtun-dest", "--listen", "tcp:10810:interface=127.0.0.1"], "at least one --target or --vm"),
        (
            ["nbdtun-dest", "--listen", "tcp:10810", "--target", "nbd=unix:/x", "--tls-dir", "/nonexistent"],
            "/nonexistent: No such file or directory",
        ),
        (["nbdtun-source", "--connect", "tcp:127.0.0.1:1", "--forward", "nbd"], "TARGET=SERVER-ENDPOINT"),
        (["nbdtun-source", "--connect", "tcp:127.0.0.1:1", "--forward", f"nbd=unix:/{'x' * 120}"], "107"),
        (["nbdtun-source", "--connect", "tcp:127.0.0.1:1", "--forward", "nbd=unix:/nonexistent/in.sock"], "No such file or directory"),
    ],
)
def test_wrong_options_are_one_line(directory: Path, arguments: list[str], line: str) -> None:
    command = [f"{BIN}/twistd", "-n", "--pidfile=", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=directory)
    assert ended.returncode != 0
    assert line in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_taken_port_is_one_line(directory: Path) -> None:
    port = free_port()
    options = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--target", "nbd=unix:/x"]
    with socket.create_server(("127.0.0.1", port)), Twistd(directory, "nbdtun-dest", *options) as daemon:
        assert daemon.wait_exit(20) != 0
        assert "Address already in use" in daemon.log()
        assert "Traceback" not in daemon.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_way_to_end_it_leaves_nothing(directory: Path, number: signal.Signals) -> None:
    options = ["--run-dir", f"{directory}/run", "--connect", "tcp:127.0.0.1:1", "--forward", f"a=unix:{directory}/a.sock"]
    with Twistd(directory, "nbdtun-source", *options) as daemon:
        daemon.wait_socket(directory / "a.sock")
        daemon.signal(number)
        assert daemon.wait_exit(20) == 0
    assert "Traceback" not in daemon.log()
    assert [path.name for path in directory.rglob("*") if not path.is_dir() and path.suffix != ".log"] == []


HURRIED = """
import os
from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.internet.task import deferLater
from nbdtun.daemon.service import Daemon

class Hurried(Service):
    def privilegedStartService(self):
        os.kill(os.getpid(), {number:d})
    def stopService(self):
        reactor.callLater(0.1, os.kill, os.getpid(), {number:d})
        return deferLater(reactor, 0.2).addCallback(lambda _: print("everything is removed"))

application = Application("hurried")
Daemon(reactor, "hurried", {{}}, Hurried()).setServiceParent(application)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_that_is_ended_while_it_starts_and_again_while_it_ends_is_ended_properly(directory: Path, number: signal.Signals) -> None:
    tac = directory / "hurried.tac"
    tac.write_text(HURRIED.format(number=number))
    ended = subprocess.run([f"{BIN}/twistd", "-n", "--pidfile=", "-oy", tac], capture_output=True, text=True, timeout=20, cwd=directory)
    assert ended.returncode in (0, -number)
    assert "everything is removed" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


class TestDetached:
    def test_it_runs_until_it_is_stopped(self, detached: Callable[..., Detached]) -> None:
        daemon = detached("nbdtun-dest", "--listen", f"tcp:{free_port()}:interface=127.0.0.1", "--target", "nbd=unix:/x")
        assert (daemon.command.returncode, daemon.command.stderr) == (0, "")
        assert "starting on" in daemon.log.read_text()
        daemon.stop()
        assert "Traceback" not in daemon.log.read_text()

    def test_its_process_id_is_what_other_commands_know_it_by(self, detached: Callable[..., Detached], directory: Path) -> None:
        daemon = detached("nbdtun-dest", "--listen", f"tcp:{free_port()}:interface=127.0.0.1", "--target", "nbd=unix:/x")
        run = [f"{BIN}/nbdtun", "set", f"@{daemon.pid}", "--bandwidth", "5MiB", "--run-dir", f"{directory}/run"]
        changed = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        assert (changed.stdout, changed.stderr) == (f"nbdtun-dest (pid {daemon.pid}): at most 5 MiB/s\n", "")

    def test_qemus_user_can_pass_to_the_sockets_that_it_makes(self, detached: Callable[..., Detached], directory: Path) -> None:
        detached("nbdtun-dest", "--listen", f"tcp:{free_port()}:interface=127.0.0.1", "--target", "nbd=unix:/x")
        assert stat.S_IMODE((directory / "run").stat().st_mode) == 0o711

    def test_what_keeps_it_from_starting_is_told_at_the_terminal(self, detached: Callable[..., Detached]) -> None:
        with socket.create_server(("127.0.0.1", free_port())) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            daemon = detached("nbdtun-dest", "--listen", endpoint, "--target", "nbd=unix:/x")
        line = f"nbdtun-dest: {endpoint}: Address already in use"
        assert daemon.command.returncode == 1
        assert line in daemon.command.stderr
        assert line in daemon.log.read_text()
        assert "Traceback" not in daemon.log.read_text()
        assert not daemon.pidfile.exists()


@pytest.mark.parametrize("foreground", [True, False])
def test_one_that_cannot_start_leaves_nothing(directory: Path, detached: Callable[..., Detached], foreground: bool) -> None:
    forwards = ["--forward", f"a=unix:{directory}/a.sock", "--forward", "b=unix:/nonexistent/b.sock"]
    options = ["--connect", "tcp:127.0.0.1:1", *forwards]
    if foreground:
        with Twistd(directory, "nbdtun-source", *options) as daemon:
            assert daemon.wait_exit(20) == 1
        log = daemon.log()
    else:
        log = detached("nbdtun-source", *options).log.read_text()
    assert f"starting on '{directory}/a.sock'" in log
    assert "nbdtun-source: unix:/nonexistent/b.sock: No such file or directory" in log
    assert "Traceback" not in log
    assert [path.name for path in directory.rglob("*") if path.suffix != ".log"] == []
