"""The NBD server that all pairs lead to: nbdkit's `null` of 1 GiB.

What is written is thrown away and what is read is zeros, so that the server takes
as little of the machine as a server can; it answers requests in parallel, as QEMU does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.daemon import free_port, listening
from lab.process import Process, wait

SIZE = "1G"


@contextmanager
def on_socket(directory: Path) -> Iterator[Path]:
    """On a UNIX socket, whose path this yields."""
    path = directory / "server.sock"
    with Process(["nbdkit", "-f", "-U", path, "null", SIZE], directory / "server.log") as server:
        wait(path.exists, 10, "nbdkit's socket", server)
        yield path
    path.unlink()


@contextmanager
def on_port(directory: Path, address: str) -> Iterator[int]:
    """On a TCP port of this address, for what has no tunnel at all."""
    port = free_port()
    with Process(["nbdkit", "-f", "-i", address, "-p", f"{port}", "null", SIZE], directory / "server.log") as server:
        wait(lambda: listening(port), 10, "nbdkit's port", server)
        yield port
