"""Pairs: the two ends of a tunnel, UNIX socket to TCP to UNIX socket, and where they are started.

Every peer is a function from a `Place` to a context manager of a `Pair`; all of them
get the same server, the same TCP hop over the loopback, and the same certificates.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lab.process import Process

CIPHER = "TLS_AES_128_GCM_SHA256"
"""For all whose TLS 1.3 cipher can be chosen."""


@dataclass(frozen=True)
class Place:
    """What a pair is given."""

    directory: Path
    """Empty, with a short name, for its sockets, its logs and its settings."""
    server: Path
    """The UNIX socket that it leads to."""
    tls: Path
    """Everybody's certificates, under QEMU's file names; those of the server are for 127.0.0.1."""
    port: int
    """Where its destination listens."""
    listen: str = "127.0.0.1"
    """The address of that."""
    dial: str = "127.0.0.1"
    """The address that its source connects to: the same, unless a line of some length lies between."""

    @property
    def entrance(self) -> Path:
        """The UNIX socket that it should serve."""
        return self.directory / "in.sock"


@dataclass(frozen=True)
class Pair:
    """A tunnel that runs."""

    entrance: Path
    source: Process | None = None
    destination: Process | None = None

    @property
    def ends(self) -> list[Process]:
        """Both processes; none where there is no tunnel."""
        return [end for end in (self.source, self.destination) if end is not None]


@dataclass(frozen=True)
class Peer:
    """A kind of tunnel."""

    name: str
    start: Callable[[Place], AbstractContextManager[Pair]]
    programs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The programs that it needs and that are not installed."""
        return [name for name in self.programs if program(name) is None]


def program(name: str) -> str | None:
    """Where a program is; daemons are not on every user's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
