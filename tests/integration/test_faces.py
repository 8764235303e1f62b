"""The daemons as commands, and under twist and twistd: one line for a mistake, a log at the terminal or in JSON, an end by signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.daemon import BIN, free_port, listening, unix_listening
from lab.process import Process, wait

DAEMONS = [["nbdtun", "dest"], ["twist", "nbdtun-dest"], ["twistd", "-n", "--pidfile=", "nbdtun-dest"]]


@pytest.fixture
def started(directory: Path) -> Iterator[Callable[..., Process]]:
    """Starts a program beside the test, with its log in a file."""
    with ExitStack() as ended:

        def start(*words: str) -> Process:
            log = directory / f"{len(list(directory.glob('*.log')))}.log"
            return ended.enter_context(Process([BIN / words[0], *words[1:]], log))

        yield start


def run(directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([f"{BIN}/{words[0]}", *words[1:]], capture_output=True, text=True, timeout=30, cwd=directory, env=env)


def serving(directory: Path, port: int) -> list[str]:
    return ["--listen", f"127.0.0.1:{port}", "--target", f"a={directory}/a.sock", "--run-dir", f"{directory}/run"]


@pytest.mark.parametrize("daemon", DAEMONS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    "words", [["--vms", "a=/a"], ["--listen", "10810"], ["--bandwidth", "5"], ["--tls-dir", "/nowhere", "--target", "a=/a"]]
)
def test_a_mistake_is_one_line(directory: Path, daemon: list[str], words: list[str]) -> None:
    ended = run(directory, *daemon, *([] if "--listen" in words else ["--listen", "10810"]), *words)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith("nbdtun")
    assert ended.stderr.endswith(" [config]\n")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("daemon", DAEMONS[:2], ids=lambda words: words[0])
def test_a_port_that_is_taken_is_one_line(directory: Path, daemon: list[str]) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        ended = run(directory, *daemon, *serving(directory, port))
    assert ended.returncode == 1
    line = f"nbdtun-dest: 127.0.0.1:{port}: Address already in use; `ss -ltnp` shows the process that listens there [config]"
    assert line in ended.stderr.splitlines()
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_runs_until_a_signal_and_leaves_nothing(directory: Path, started: Callable[..., Process], number: signal.Signals) -> None:
    port = free_port()
    daemon = started("nbdtun", "dest", *serving(directory, port))
    log = daemon.wait_log("for target a", 20)
    assert log.count("\n") == 1
    assert f"info  nbdtun 0.1.0: listening on 127.0.0.1:{port} without TLS, for target a" in log
    assert listening(port)
    daemon.signal(number)
    assert daemon.wait_exit(20) == 0
    assert "Traceback" not in daemon.log()
    assert [path.name for path in directory.rglob("*") if not path.is_dir() and path.suffix != ".log"] == []


def test_bytes_pass_between_the_two(directory: Path, started: Callable[..., Process]) -> None:
    port = free_port()
    with socket.socket(socket.AF_UNIX) as target, socket.socket(socket.AF_UNIX) as local:
        target.bind(f"{directory}/a.sock")
        target.listen()
        started("nbdtun", "dest", *serving(directory, port), "--log-format", "json").wait_log("for target a", 20)
        forward = f"a={directory}/in.sock"
        source = started("nbdtun", "source", "--connect", f"localhost:{port}", "--forward", forward, "--run-dir", f"{directory}/run")
        wait(lambda: unix_listening(directory / "in.sock"), 20, "the forward", source)
        local.settimeout(10)
        local.connect(f"{directory}/in.sock")
        local.sendall(b"hello")
        target.settimeout(10)
        peer, _ = target.accept()
        with peer:
            assert peer.recv(5) == b"hello"
        assert f"forwarding a to localhost:{port}" in source.log()


def test_json_has_one_object_a_line(directory: Path, started: Callable[..., Process]) -> None:
    port = free_port()
    daemon = started("nbdtun", "dest", *serving(directory, port), "--log-format", "json", "--log-level", "debug")
    event = json.loads(daemon.wait_log("for target a", 20).splitlines()[-1])
    assert (event["level"], event["version"]) == ("info", "0.1.0")


def test_twistd_can_log_json_too(directory: Path, started: Callable[..., Process]) -> None:
    words = ["twistd", "-n", "--pidfile=", "--logger", "nbdtun.daemon.log.json_lines", "nbdtun-dest"]
    daemon = started(*words, *serving(directory, free_port()))
    daemon.wait_log("starting on", 20)
    assert [json.loads(line)["level"] for line in daemon.log().splitlines()]


def test_twist_runs_them_and_logs_json(directory: Path, started: Callable[..., Process]) -> None:
    port = free_port()
    daemon = started("twist", "--log-format=json", "--log-level=info", "nbdtun-dest", *serving(directory, port))
    wait(lambda: listening(port), 20, "the daemon", daemon)
    daemon.wait_log("Starting reactor", 20)
    daemon.signal(signal.SIGTERM)
    daemon.wait_exit(20)
    events = [json.loads(line.strip("\x1e")) for line in daemon.log().splitlines() if line.strip("\x1e")]
    assert any(event["log_format"] == "Main loop terminated." for event in events)
    assert "Traceback" not in daemon.log()


def test_the_shell_completes_commands_and_what_runs(directory: Path, started: Callable[..., Process]) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = run(directory, "nbdtun", _NBDTUN_COMPLETE=f"{shell}_source")
        assert (script.returncode, script.stderr) == (0, "")
        assert f"_NBDTUN_COMPLETE={shell}_complete" in script.stdout
    daemon = started("nbdtun", "dest", *serving(directory, free_port()))
    daemon.wait_log("for target a", 20)
    words = f"nbdtun status --run-dir {directory}/run "
    assert str(daemon.pid) in run(directory, "nbdtun", COMP_WORDS=words, COMP_CWORD="4", _NBDTUN_COMPLETE="bash_complete").stdout
    found = run(directory, "nbdtun", COMP_WORDS="nbdtun mig", COMP_CWORD="1", _NBDTUN_COMPLETE="bash_complete")
    assert found.stdout == "plain,migrate\n"
