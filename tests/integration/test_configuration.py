"""Daemons with configuration files."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.daemon import BIN, Command, free_port


class Pair:
    """The two daemons, each with a file in `directory`, and a local program at either end."""

    def __init__(self, directory: Path, ended: ExitStack) -> None:
        self.directory = directory
        self._ended = ended
        self.port = free_port()

    def write(self, daemon: str, *lines: str) -> Path:
        """Make the file of one of the two."""
        file = self.directory / f"{daemon}.toml"
        file.write_text("\n".join([f'run-dir = "{self.directory}/run"', *lines]))
        return file

    def start(self, daemon: str, *lines: str, said: str) -> Command:
        """Start one, and wait until its log has a text."""
        words = ["--config", f"{self.write(daemon, *lines)}"]
        started = self._ended.enter_context(Command(self.directory / f"{daemon}.log", daemon, *words))
        started.wait_log(said, 20)
        return started

    def listen(self, name: str) -> socket.socket:
        """A program's listening socket."""
        listener = self._ended.enter_context(socket.socket(socket.AF_UNIX))
        listener.settimeout(10)
        listener.bind(f"{self.directory}/{name}")
        listener.listen()
        return listener

    def connect(self, name: str) -> socket.socket:
        """A program's connection to one of the daemon's sockets."""
        local = self._ended.enter_context(socket.socket(socket.AF_UNIX))
        local.settimeout(10)
        local.connect(f"{self.directory}/{name}")
        return local

    def accepted(self, listener: socket.socket) -> socket.socket:
        """The other end of a connection."""
        peer = self._ended.enter_context(listener.accept()[0])
        peer.settimeout(10)
        return peer


def passes(one: socket.socket, other: socket.socket) -> bool:
    """Whether a byte gets from one socket to the other."""
    one.sendall(b"x")
    return other.recv(1) == b"x"


@pytest.fixture
def pair(directory: Path) -> Iterator[Pair]:
    with ExitStack() as ended:
        yield Pair(directory, ended)


def test_both_daemons_have_all_that_they_need_in_a_file(pair: Pair, tls: Path) -> None:
    there = pair.listen("a.sock")
    served = [f'listen = "127.0.0.1:{pair.port}"', f'target = ["a={pair.directory}/a.sock"]']
    pair.start("dest", *served, f'tls-dir = "{tls}"', 'log-format = "json"', said='"text": "nbdtun')
    dialled = [f'connect = "127.0.0.1:{pair.port}"', f'forward = "a={pair.directory}/in.sock"', f'tls-dir = "{tls}"']
    pair.start("source", *dialled, said="answers")
    local = pair.connect("in.sock")
    assert passes(local, pair.accepted(there))


@pytest.mark.parametrize("launcher", [["nbdtun", "dest"], ["twistd", "-n", "--pidfile=", "nbdtun-dest"]], ids=lambda words: words[0])
def test_a_mistake_in_a_file_is_one_line(pair: Pair, launcher: list[str]) -> None:
    file = pair.write("dest", 'lsten = "10810"')
    words = [f"{BIN}/{launcher[0]}", *launcher[1:], "--config", f"{file}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20, cwd=pair.directory)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"nbdtun{'-dest' * (launcher[0] == 'twistd')}: {file}: there is no option lsten; did you mean listen? [config]\n"
