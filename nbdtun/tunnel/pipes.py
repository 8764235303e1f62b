"""
Pipes: those of a process, lent to whoever has bytes on their way from one socket to another.

Mostly one is enough for all: whoever takes it empties it before he does anything else. Where the socket that they go to is full, the rest
stays in it, and it with its user, until there is room: bytes that were read out of it would have to be copied twice more.
"""

from __future__ import annotations

import os

from nbdtun.tunnel.pipe import Pipe

#: Empty ones that are held ready.
SPARE = 2

#: Ones that may stay with their users at one time. All of one system user's processes have 64 of 1 MiB together, before theirs become
#: small (/proc/sys/fs/pipe-user-pages-soft).
MOST = 16


class Pipes:
    """Lends pipes. ``usable`` is False where the system has no such thing, or no more descriptors; then nobody asks for one."""

    def __init__(self) -> None:
        self.usable = hasattr(os, "splice")
        self._spare: list[Pipe] = []
        self._kept: set[Pipe] = set()

    def __repr__(self) -> str:
        return f"<Pipes usable={self.usable} spare={len(self._spare)} kept={len(self._kept)}>"

    def take(self) -> Pipe | None:
        """Lend an empty one; None when there is none, and will be none."""
        if self._spare:
            return self._spare.pop()
        try:
            return Pipe()
        except OSError:  # too many open files; without it, it is slower
            self.usable = False
            return None

    def keep(self, pipe: Pipe) -> bool:
        """Whether ``pipe`` may stay with its user, with what it holds, until he gives it back."""
        if len(self._kept) < MOST:
            self._kept.add(pipe)
        return pipe in self._kept

    def give(self, pipe: Pipe) -> None:
        """Take one back. What it holds was for nobody else, and goes with it."""
        self._kept.discard(pipe)
        if not pipe.fit:
            self.usable = False
        if pipe.held or not self.usable or len(self._spare) >= SPARE:
            pipe.close()
        else:
            self._spare.append(pipe)
