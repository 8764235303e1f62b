"""A directory of ours, and a socket in it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of ours in /tmp."""
    with TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def listening(place: Path) -> Iterator[socket.socket]:
    """A socket of ours, `s`."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{place}/s")
        sock.listen()
        yield sock
