"""
Whether the process that works on a session lives: a name that it holds for as long as it does.

The name is an abstract UNIX socket's: the kernel lets go of it when its process ends, however that is, and there is no file which
could be left behind. Abstract names belong to a network namespace, so two processes that are to see each other must share one.
"""

from __future__ import annotations

import socket

from nbdtun.ownership.names import claim


class Presence:
    """One process's hold on ``name``; made without holding it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Presence {self.name} {'held' if self._socket else 'not held'}>"

    def acquire(self) -> bool:
        """Hold the name from now on; False if somebody else does."""
        self._socket = held = claim(self.name)
        return held is not None

    def release(self) -> None:
        """Hold it no more; safe to repeat."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def is_present(name: str) -> bool:
    """Whether somebody holds ``name``."""
    mine = Presence(name)
    free = mine.acquire()
    mine.release()
    return not free
