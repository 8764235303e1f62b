"""Abstract names of UNIX sockets: in no file system, and free again when the process that holds one ends (unix(7))."""

from __future__ import annotations

import errno
import socket


def claim(name: str) -> socket.socket | None:
    """
    Hold the abstract ``name`` until the socket is closed; None if another process holds it.

    :raise OSError: that cannot be.
    """
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        held.bind(f"\0{name}")
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return held
