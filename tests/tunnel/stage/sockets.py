"""The sockets of a play, and which of them are still open: those of other threads of this process are none of its business."""

from __future__ import annotations

import contextlib
import os
import socket

_socketpair = socket.socketpair
_made: set[str] = set()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a local connection."""
    return _noted(*_socketpair())


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection, which has resets of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
        for end in (ours, theirs):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _noted(ours, theirs)


def open_sockets() -> set[str]:
    """Those that are open, whichever descriptor they have by now."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists them is gone
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return found & _made


def _noted(*ends: socket.socket) -> tuple[socket.socket, socket.socket]:
    ours, theirs = ends
    _made.update(f"socket:[{os.fstat(end.fileno()).st_ino}]" for end in ends)
    return ours, theirs
