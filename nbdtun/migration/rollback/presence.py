"""
Whether the process that works on a session lives: it holds a name for as long as it does.

The name is an abstract UNIX socket's. The kernel releases it when its process ends, however that happens, and no file can be left
behind. Abstract names belong to a network namespace, so two processes that are to see each other must share one.

Any local user can see the name, and take it as soon as its process has ended. So a holder counts only if it is that process: the one with
its pid and its start time, which no other process of the host has had since it was booted (proc(5), ``starttime``). Pids of another PID
namespace cannot be compared; there, any holder counts.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from nbdtun.ownership.names import claim, holder

#: States of a process that has ended (proc(5)): a zombie, and one that is being removed.
_ENDED: Final = frozenset("ZX")


class Presence:
    """One process's hold on ``name``; a new object does not hold it yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Presence {self.name} {'held' if self._socket else 'not held'}>"

    def acquire(self) -> bool:
        """Hold the name from now on; False if another process holds it."""
        self._socket = held = claim(self.name)
        return held is not None

    def release(self) -> None:
        """Release the name; safe to repeat."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def is_present(name: str, process: str = "") -> bool:
    """Whether ``process`` holds ``name``, as :func:`identity` has it; if that is "", or cannot be compared: whether any process does."""
    pid = holder(name)
    if pid is None:
        return False
    parts = process.split()
    if len(parts) != 3 or parts[0] != _namespace():
        return True
    return identity(pid or int(parts[1])) == process


def identity(pid: int) -> str:
    """
    What tells the process ``pid`` from all others of this host: its namespace, its pid, and when it began; "" if there is none.

    One that has ended is none, even if its parent has not waited for it yet: in a container, the first process may never do so.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in _ENDED else f"{_namespace()} {pid} {rest[18]}"
    except (OSError, ValueError, IndexError):
        return ""


def pid_of(process: str) -> int:
    """The process id in an :func:`identity`; 0: there is none."""
    parts = process.split()
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0


def lives(process: str) -> bool:
    """Whether the process with this :func:`identity` lives; another one with its pid does not count."""
    pid = pid_of(process)
    return pid != 0 and identity(pid) == process


def _namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:  # no /proc here
        return ""
