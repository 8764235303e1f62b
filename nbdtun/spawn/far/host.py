"""What this host has: network interfaces, listening sockets, free space, users. It only reads (sysfs, proc(5))."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from nbdtun.spawn.values import Network

_SYS, _PROC = Path("/sys/class/net"), Path("/proc/net")
#: What helps where this user may not do something.
AS_ROOT: Final = "run the far end as root: by ssh, with --remote-command 'sudo nbdtun'"
#: The flag of a listening UNIX socket, and the state of a listening TCP socket; a UDP socket that is bound has the state 07.
_LISTENS, _LISTEN_TCP, _BOUND_UDP = "00010000", "0A", "07"


def has_interface(name: str, kind: Network, sys: Path = _SYS) -> bool:
    """Whether there is a network interface of this kind."""
    return "/" not in name and (sys / name / ("bridge" if kind is Network.BRIDGE else "tun_flags")).exists()


def is_listened(path: str, listed: Path = _PROC / "unix") -> bool:
    """Whether a process listens on a UNIX socket; it may have given a shorter name to it."""
    known = {path, os.path.realpath(path)}
    for line in _lines(listed):
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[3] == _LISTENS:
            name = fields[7].strip()
            if name in known or (not name.startswith(("/", "@")) and name.rpartition("/")[2] == os.path.basename(path)):
                return os.path.exists(path)
    return False


def is_taken(port: int, *, udp: bool = False, proc: Path = _PROC) -> bool:
    """Whether a process listens at a port, at any address."""
    wanted = f":{port:04X}"
    for name in ("udp", "udp6") if udp else ("tcp", "tcp6"):
        for line in _lines(proc / name):
            fields = line.split()
            if len(fields) > 3 and fields[1].endswith(wanted) and fields[3] == (_BOUND_UDP if udp else _LISTEN_TCP):
                return True
    return False


def _lines(path: Path) -> Iterator[str]:
    with suppress(OSError):
        yield from path.read_text(errors="surrogateescape").splitlines()[1:]


def standing(path: str) -> str:
    """The nearest directory above ``path`` that exists."""
    at = os.path.dirname(os.path.normpath(path)) or "/"
    while not os.path.isdir(at):
        at = os.path.dirname(at)
    return at


def missing(path: str) -> list[str]:
    """The directories above ``path`` that do not exist, the uppermost first."""
    at, end = os.path.dirname(os.path.normpath(path)), standing(path)
    found = []
    while at != end:
        found.append(at)
        at = os.path.dirname(at)
    return found[::-1]


def user_id(name: str) -> int | None:
    """The id of a user by name or number; None if there is none of that name."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group_id(name: str) -> int | None:
    """The same of a group."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def own_name() -> str:
    """The name of this process's user, or its number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"{os.geteuid()}"
