"""Dialling: a connection to a monitor's UNIX socket, and the remedy where there can be none."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from nbdtun.errors import MonitorError
from nbdtun.ownership.reach import reach

#: The kernel's list of UNIX sockets: the flags, the state and, last, the path (net/unix/af_unix.c). A server's end of a connection has its
#: path too; its state is SS_CONNECTING until it is accepted, then SS_CONNECTED.
_LISTED = Path("/proc/net/unix")
_WAITING, _ACCEPTED = "02", "03"


def dial(path: str) -> socket.socket:
    """Connect to a UNIX socket; this never waits. Each kind of failure has a remedy of its own."""
    try:
        return reach(path)
    except OSError as error:
        raise MonitorError(f"{path}: {_reason(error)}", _remedy(error, path)) from error


def is_served(path: str) -> bool:
    """Whether a process listens on a UNIX socket, or may: a QEMU that has ended does not, whatever it has left behind."""
    try:
        reach(path).close()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ECONNREFUSED)
    return True


def is_forbidden(path: str) -> bool:
    """Whether this user may not connect to a UNIX socket that is there."""
    try:
        reach(path).close()
    except OSError as error:
        return error.errno == errno.EACCES
    return False


def is_held(path: str) -> bool:
    """Whether the server of a UNIX socket has accepted a client, and lets another one wait; unknown, and so False, in another namespace."""
    try:
        rows = [line.split(maxsplit=7) for line in _LISTED.read_text(errors="surrogateescape").splitlines()[1:]]
    except OSError:
        return False
    return {_WAITING, _ACCEPTED} <= {row[5] for row in rows if len(row) == 8 and row[7] in (path, os.path.realpath(path))}


def _reason(error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return "another client holds this monitor, and others are waiting for it"
    ended = "; QEMU has ended" if error.errno == errno.ECONNREFUSED else ""
    return (error.strerror or str(error)) + ended


def _remedy(error: OSError, path: str) -> str:
    if isinstance(error, BlockingIOError):
        return "give QEMU a second -qmp"
    hints = {
        errno.ENOENT: "is QEMU running, with -qmp unix:PATH,server=on,wait=off?",
        errno.EACCES: f"run as root or as QEMU's user (it is owned by {_owner(path)})",
        errno.ECONNREFUSED: "start it again",
        errno.ENAMETOOLONG: "the path of a UNIX socket has at most 107 bytes",
    }
    return hints.get(error.errno or 0, "")


def _owner(path: str) -> str:
    try:
        return f"uid {os.stat(path).st_uid}"
    except OSError:
        return "another user"
