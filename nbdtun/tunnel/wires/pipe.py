"""
PipePool: they move bytes from one socket to another within the kernel.

Reading and writing copies each byte twice; splice(2) hands the pages over. That takes two calls more than it saves for small pieces, and
pays for large ones.

Mostly one pipe is enough for a process: its user empties it before anything else is done. Where the socket that they go to is full, the
rest stays in the pipe, and the pipe with its user, until there is room: bytes that were read out of it would be copied twice more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import Final

#: Bytes that it holds at most: what any user may ask for (/proc/sys/fs/pipe-max-size). The kernel counts pieces, each of a page or more.
SIZE = 1024 * 1024

#: Empty ones that are held ready.
SPARE = 2

#: Ones that may stay with their users at one time. All of one system user's processes have 64 of 1 MiB together, before theirs become
#: small (/proc/sys/fs/pipe-user-pages-soft).
MOST = 16

_FLAGS: Final = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)

#: What splice(2) says of a socket of a kind that it cannot handle.
_UNFIT = (errno.EINVAL, errno.EOPNOTSUPP)


class Pipe:
    """
    Holds what is on its way: ``held`` bytes. ``fit`` turns False when a socket shows up that splice(2) cannot handle.

    :raise OSError: there are no descriptors for it.
    """

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None  # that is what __del__ finds where there are no descriptors
        self._ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.fit = True
        self.held = 0
        with contextlib.suppress(OSError):  # the user has had his share of pipes; then it is small
            fcntl.fcntl(self._ends[1], fcntl.F_SETPIPE_SZ, SIZE)

    def __repr__(self) -> str:
        return f"<Pipe fit={self.fit} held={self.held}>"

    def fill(self, source: int, count: int) -> int | None:
        """
        Take at most ``count`` bytes from the socket ``source``; return how many, 0 at the end, None when nothing is there now.

        :raise OSError: the connection broke.
        """
        assert self._ends is not None
        try:
            came = os.splice(source, self._ends[1], count, flags=_FLAGS)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _UNFIT:
                raise
            self.fit = False
            return None
        self.held += came
        return came

    def empty(self, target: int) -> int:
        """
        Give what it holds to the socket ``target``; return how many bytes that took.

        :raise OSError: the connection broke.
        """
        assert self._ends is not None
        source, given = self._ends[0], 0
        try:
            while self.held:
                count = os.splice(source, target, self.held, flags=_FLAGS)
                self.held -= count
                given += count
        except BlockingIOError:
            pass
        return given

    def read(self) -> memoryview:
        """Return what it holds, or the beginning of it."""
        assert self._ends is not None
        data = os.read(self._ends[0], self.held)
        self.held -= len(data)
        return memoryview(data)

    def close(self) -> None:
        """Throw it away, with all that it holds."""
        ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)
        self.held = 0

    def __del__(self) -> None:
        self.close()


class PipePool:
    """Lends pipes. ``usable`` is False where the system has no such thing, or no more descriptors; then nobody asks for one."""

    def __init__(self) -> None:
        self.usable = hasattr(os, "splice")
        self._spare: list[Pipe] = []
        self._kept: set[Pipe] = set()

    def __repr__(self) -> str:
        return f"<PipePool usable={self.usable} spare={len(self._spare)} kept={len(self._kept)}>"

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
