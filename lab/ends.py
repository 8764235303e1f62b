"""Two daemons that carry channels between plain sockets, whose programs are the test's own: no QEMU, and every byte is known."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lab.daemon import Daemon, Twistd, free_port


class Ends:
    """A daemon with one target, a source with a forward to it, and local programs at both."""

    def __init__(self, directory: Path, ended: ExitStack, *options: str, source: Sequence[str] = (), daemon: type[Twistd] = Daemon) -> None:
        """`source` has more options of the source's."""
        self.directory, self._ended = directory, ended
        self.port = free_port()
        self.there = ended.enter_context(socket.socket(socket.AF_UNIX))
        self.there.settimeout(20)
        self.there.bind(f"{directory}/there")
        self.there.listen()
        common = ["--run-dir", f"{directory}/run", "--drain-timeout", "1s", "--resume-window", "3s", *options]
        words = ["--target", f"a=unix:{directory}/there", *common]
        self.configure()
        self.dest = ended.enter_context(daemon(directory, "nbdtun-dest", *words, "--config", f"{directory}/dest.toml"))
        self.dest.wait_port(self.port, 60)
        (directory / "flag").touch()
        (directory / "source.toml").touch()
        words = ["--connect", f"tcp:127.0.0.1:{self.port}", "--forward", f"a=unix:{directory}/here", *common]
        words += [*source, "--config", f"{directory}/source.toml"]
        self.source = ended.enter_context(daemon(directory, "nbdtun-source", *words))
        self.source.wait_log("answers", 60)

    def configure(self, more: str = "", port: int = 0) -> None:
        """The destination's file: where it listens, and `more`."""
        (self.directory / "dest.toml").write_text(f'listen = "tcp:{port or self.port}:interface=127.0.0.1"\n{more}\n')

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
