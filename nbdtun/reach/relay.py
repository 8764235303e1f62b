"""
The relay at the far end: standard input and output of an ssh session, and a socket of the process that receives.

It has no reactor: two threads copy, one for each direction, and the first end of the socket ends it. It is all that a torn session takes
down.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Bytes that are copied at a time.
PIECE: Final = 256 * 1024

#: How the error begins of a relay that finds no receiver.
NOBODY: Final = "nothing receives"


def is_gone(why: str) -> bool:
    """Whether an error of an ssh says that there is no receiver any more."""
    return f": {NOBODY} " in why


def door_path(base: Path, name: str) -> Path:
    """The door of the receiver called ``name``, whose run directories are in ``base``."""
    return base / "receive" / f"{name}.sock"


def relay(sock: socket.socket, reading: int = 0, writing: int = 1) -> None:
    """Copy both ways until ``sock`` or ``writing`` ends; the end of ``reading`` is passed on."""
    sock.setblocking(True)
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, True)
    threading.Thread(target=_upward, args=(reading, sock), daemon=True).start()
    buffer = memoryview(bytearray(PIECE))
    with suppress(OSError):
        while count := sock.recv_into(buffer):
            _write(writing, buffer[:count])


def _upward(reading: int, sock: socket.socket) -> None:
    buffer = memoryview(bytearray(PIECE))
    with suppress(OSError):
        while count := os.readv(reading, [buffer]):
            sock.sendall(buffer[:count])
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def _write(writing: int, data: memoryview) -> None:
    while data:
        data = data[os.write(writing, data) :]
