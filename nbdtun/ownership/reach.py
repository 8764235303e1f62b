"""
Sockets that others listen on: connected to without following foreign links, and closed again if the wrong user answers.

QEMU's user could try to make root talk to a socket that only root may use. So that user must have no say in which socket we reach. In a
directory that only root and we can write to, root or we have put the socket there. In any other directory, the socket must

- have only one name: a hard link could lead to any user's socket, where ``fs.protected_hardlinks`` is off;
- belong to the directory's owner, who could use it anyway; or be listened on by that owner, or by the socket's own owner.

Where the caller knows which users may answer (QEMU's monitor has reported it), only those are accepted.

:mod:`.reacher` is the same as an endpoint. Here is no reactor: the relay of an ssh session, which is started for each link, loads none.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from nbdtun.ownership.way import check_length, is_ours, known, walked

_PEER = struct.Struct("3i")


@frozen
class Credentials:
    """The process behind a UNIX socket, and its user."""

    pid: int
    uid: int
    gid: int


def peer(sock: socket.socket) -> Credentials:
    """Return who listens. The kernel knows who called listen(2); only /proc knows a later change by QEMU's ``-runas``."""
    pid, uid, gid = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    with suppress(OSError, KeyError, ValueError, IndexError):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
        uid, gid = int(fields["Uid"].split()[1]), int(fields["Gid"].split()[1])
    return Credentials(pid, uid, gid)


def caller(sock: socket.socket) -> int:
    """
    Return the user who has connected, as the kernel has it from that moment.

    What /proc says of the process may be of a setuid program by now, which anybody can start in its place.
    """
    return int(_PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])


def reach(path: str, allowed: Collection[int] | None = None) -> socket.socket:
    """
    Connect to the UNIX socket ``path``; if ``allowed`` is given, one of these users must listen there. Returns a non-blocking socket.

    :raise BlockingIOError: the server's queue is full.
    :raise OSError: the connection failed, or another user listens.
    """
    check_length(path)
    with walked(path) as (directory, there):
        found, around = os.fstat(there), os.fstat(directory)
        if not stat.S_ISSOCK(found.st_mode):
            raise OSError(errno.ENOTSOCK, "it is not a socket")
        if not is_ours(around) and found.st_nlink != 1:
            raise PermissionError(errno.EPERM, "it is a hard link in another user's directory, and could be any user's socket")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.connect(f"/proc/self/fd/{there}")
            _check(peer(sock).uid, found, around, allowed)
        except BaseException:
            sock.close()
            raise
    return sock


def _check(uid: int, found: os.stat_result, around: os.stat_result, allowed: Collection[int] | None) -> None:
    if allowed is not None:
        right = uid in allowed
    else:
        his = around.st_uid in (found.st_uid, uid) or (uid == found.st_uid and uid not in known())
        right = is_ours(around) or his
    if not right:
        raise PermissionError(errno.EPERM, f"uid {uid} is listening there, which is not allowed; another user may have replaced the socket")
