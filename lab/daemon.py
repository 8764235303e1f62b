"""The product's daemons as real processes: `twistd -n nbdtun-dest ...`."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from lab.process import MARK, Process, marked, wait

BIN = Path(sys.executable).parent
"""Where the environment that runs the tests has `twistd` and `nbdtun`."""

TWISTD = ["twistd"]
"""The command, with options that are twistd's own."""


_HELD: list[socket.socket] = []


class Twistd(Process):
    """A twistd plugin in the foreground, with its log in a file."""

    def __init__(self, directory: Path, plugin: str, *arguments: str, name: str = "") -> None:
        log = directory / f"{name or plugin}.log"
        super().__init__([BIN / TWISTD[0], *TWISTD[1:], "-n", "--pidfile=", plugin, *arguments], log)

    def wait_port(self, port: int, timeout: float = 20) -> None:
        """Wait until it listens on a TCP port, without connecting to it."""
        wait(lambda: listening(port), timeout, f"listener on port {port}", self)

    def wait_socket(self, path: Path, timeout: float = 20) -> None:
        """Wait until it listens on a UNIX socket, without connecting to it."""
        wait(lambda: unix_listening(path), timeout, f"listener on {path}", self)


class Daemon(Twistd):
    """The same as a subcommand, `nbdtun dest` or `nbdtun source`, whose program can be replaced."""

    def __init__(self, directory: Path, plugin: str, *arguments: str, name: str = "") -> None:
        Process.__init__(self, [BIN / "nbdtun", plugin.removeprefix("nbdtun-"), *arguments], directory / f"{name or plugin}.log")


class Detached:
    """A twistd plugin behind the terminal, as twistd starts it without -n, or its refusal to start."""

    def __init__(self, directory: Path, plugin: str, *options: str) -> None:
        self.pidfile, self.log = directory / f"{plugin}.pid", directory / f"{plugin}.log"
        command = [f"{BIN}/twistd", f"--pidfile={self.pidfile}", f"--logfile={self.log}", plugin, *options]
        env = {**os.environ, MARK: f"{os.getpid()}"}
        self.command = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=directory, env=env)

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.pidfile.read_text())

    @property
    def running(self) -> bool:
        """Whether there is one, also if it has no pidfile any more."""
        return any(f"{self.pidfile}" in command for command in marked().values())

    def stop(self) -> None:
        """Stop it, if it runs; it takes its pidfile with it."""
        with suppress(FileNotFoundError):
            os.kill(self.pid, signal.SIGTERM)
        wait(lambda: not self.running, 10, "the daemon's end")
        assert not self.pidfile.exists()


class Command(Process):
    """The `nbdtun` command, running beside the test; its output is the log."""

    def __init__(self, log: Path, *arguments: str) -> None:
        super().__init__([BIN / "nbdtun", *arguments], log)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on, and that nobody else gets as long as this process lives.

    It is held by a socket that is bound and does not listen: Linux lets a listener with SO_REUSEADDR in beside it, and picks
    the port for nobody who asks for any.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    port: int = held.getsockname()[1]
    return port


def listening(port: int) -> bool:
    """Whether a TCP port is listened on. From the kernel's tables: a probing
    connection would be an event for the process under test."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def unix_listening(path: Path) -> bool:
    """Whether a UNIX socket is listened on. A datagram socket cannot connect to it, and is told why: who listens notices nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(f"{path}") == errno.EPROTOTYPE
