"""Dialling: a connection to a monitor's UNIX socket, and the remedy where there can be none."""

from __future__ import annotations

import errno
import os
import socket

from nbdtun.errors import MonitorError
from nbdtun.ownership.reach import reach


def dial(path: str) -> socket.socket:
    """Connect to a UNIX socket; this never waits. Each kind of failure has a remedy of its own."""
    try:
        return reach(path)
    except OSError as error:
        raise MonitorError(f"{path}: {_remedy(error, path)}") from error


def is_served(path: str) -> bool:
    """Whether a process listens on a UNIX socket, or may: a QEMU that has ended does not, whatever it has left behind."""
    try:
        reach(path).close()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ECONNREFUSED)
    return True


def _remedy(error: OSError, path: str) -> str:
    if isinstance(error, BlockingIOError):
        return "another client holds this monitor, and others are waiting for it; give QEMU a second -qmp"
    hint = {
        errno.ENOENT: "is QEMU running, with -qmp unix:PATH,server=on,wait=off?",
        errno.EACCES: f"run as root or as QEMU's user (it is owned by {_owner(path)})",
        errno.ECONNREFUSED: "QEMU has ended; start it again",
        errno.ENAMETOOLONG: "the path of a UNIX socket has at most 107 bytes",
    }.get(error.errno or 0)
    return (error.strerror or str(error)) + (f"; {hint}" if hint else "")


def _owner(path: str) -> str:
    try:
        return f"uid {os.stat(path).st_uid}"
    except OSError:
        return "another user"
