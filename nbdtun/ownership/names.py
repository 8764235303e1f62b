"""
Abstract names of UNIX sockets: in no file system, and free again when the process that holds one ends (unix(7)).

Any user can see them, and take one that is free. So it matters who holds a name; the kernel knows who called listen(2).
"""

from __future__ import annotations

import errno
import socket

from nbdtun.ownership.reach import peer

#: How often the kernel tells who holds a name: each who asks leaves a connection, and nobody takes it.
CALLERS = 4096


def claim(name: str) -> socket.socket | None:
    """
    Hold the abstract ``name`` until the socket is closed; None if another process holds it.

    :raise OSError: that cannot be.
    """
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        held.bind(f"\0{name}")
        held.listen(CALLERS)
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return held


def holder(name: str) -> int | None:
    """
    Return the process that holds the abstract ``name``; None if there is none.

    It is 0 if the kernel does not tell: the process is of another namespace, or somebody has filled its queue with connections.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(f"\0{name}")
        except BlockingIOError:
            return 0
        except ConnectionRefusedError:
            return None
        return peer(sock).pid
