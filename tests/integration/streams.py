"""Bytes without end, for a test that measures what gets through."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


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
