"""
Whether the process that works on a session lives: it holds a name for as long as it does.

The name is an abstract UNIX socket's. The kernel releases it when its process ends, however that happens, and no file can be left
behind. Abstract names belong to a network namespace, so two processes that are to see each other must share one.
"""

from __future__ import annotations

import socket

from nbdtun.ownership.names import claim


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


def is_present(name: str) -> bool:
    """Whether a process holds ``name``."""
    mine = Presence(name)
    free = mine.acquire()
    mine.release()
    return not free
