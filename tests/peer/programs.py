"""Local programs at the ends of a tunnel: what listens on the sockets of targets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

PIECE = 1 << 16


def echo(peer: socket.socket) -> None:
    """Send back what comes, and end when that has ended."""
    while data := peer.recv(PIECE):
        peer.sendall(data)


def greeter(peer: socket.socket) -> None:
    """Speak first, end, and only then count what comes; the count is a line in the next greeting."""
    with suppress(OSError):
        peer.sendall(b"hello")
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(PIECE):
            pass


def counter(peer: socket.socket) -> None:
    """Read to the end, and only then answer."""
    count = 0
    while data := peer.recv(PIECE):
        count += len(data)
    peer.sendall(b"%d" % count)


def sleeper(peer: socket.socket) -> None:
    """Read nothing for a long time."""
    threading.Event().wait(60)


class Program:
    """Listens on a UNIX socket, and runs in a thread for each who comes; a context manager that ends it."""

    def __init__(self, path: Path, run: Callable[[socket.socket], None]) -> None:
        self.path = path
        self.visits = 0
        self._run = run
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{path}")
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.visits += 1
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):
            self._run(peer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def dial(path: Path) -> socket.socket:
    """A client of a UNIX socket."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(60)
    peer.connect(f"{path}")
    return peer


def read_all(peer: socket.socket) -> bytes:
    """All that comes, to the end."""
    return b"".join(iter(lambda: peer.recv(PIECE), b""))


def read(peer: socket.socket, count: int) -> bytes:
    """The next bytes, or fewer at the end."""
    found = b""
    while len(found) < count and (part := peer.recv(count - len(found))):
        found += part
    return found
