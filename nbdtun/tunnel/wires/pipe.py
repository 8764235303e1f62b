"""
Pipes: they move bytes from one socket to another within the kernel.

Reading and writing copies each byte twice; splice(2) passes the pages on. That pays for large pieces; for small ones, the additional system
calls cost more than the copies.

One pipe is usually enough for a process: its user empties it before doing anything else. If the target socket is full, the rest stays in
the pipe, and the pipe with its user, until there is room: reading the bytes out of it would copy them twice more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import Final

#: The most bytes in a pipe: the default of /proc/sys/fs/pipe-max-size, allowed for all users. The kernel counts pieces of a page or more.
SIZE = 1024 * 1024

#: Empty pipes that are kept ready.
SPARE = 2

#: The most pipes that may stay with their users at one time. The processes of one system user share 64 of 1 MiB; further ones are small
#: (/proc/sys/fs/pipe-user-pages-soft).
MOST = 16

_FLAGS: Final = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)

#: Errors of splice(2) for a kind of socket that it cannot handle.
_UNFIT = (errno.EINVAL, errno.EOPNOTSUPP)


class Pipe:
    """
    Holds ``held`` bytes between two sockets. ``fit`` turns False when splice(2) cannot handle a socket.

    :raise OSError: there are no descriptors left for it.
    """

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None  # for __del__, if there are no descriptors left
        self._ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.fit = True
        self.held = 0
        with contextlib.suppress(OSError):  # the system user's share of pipes is used up; then it is small
            fcntl.fcntl(self._ends[1], fcntl.F_SETPIPE_SZ, SIZE)

    def __repr__(self) -> str:
        return f"<Pipe fit={self.fit} held={self.held}>"

    def fill(self, source: int, count: int) -> int | None:
        """
        Take at most ``count`` bytes from the socket ``source``; return the count, 0 at the end, None when there is nothing now.

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
        Write its bytes to the socket ``target``; return the count that was taken.

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
        """Take out its bytes, or the first of them."""
        assert self._ends is not None
        data = os.read(self._ends[0], self.held)
        self.held -= len(data)
        return memoryview(data)

    def close(self) -> None:
        """Close it, and discard its bytes."""
        ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)
        self.held = 0

    def __del__(self) -> None:
        self.close()


class PipePool:
    """Lends pipes. ``usable`` is False where the system lacks splice(2), or descriptors; then no pipes are used."""

    def __init__(self) -> None:
        self.usable = hasattr(os, "splice")
        self._spare: list[Pipe] = []
        self._kept: set[Pipe] = set()

    def __repr__(self) -> str:
        return f"<PipePool usable={self.usable} spare={len(self._spare)} kept={len(self._kept)}>"

    def take(self) -> Pipe | None:
        """Lend an empty pipe; None if there is none, now and later."""
        if self._spare:
            return self._spare.pop()
        try:
            return Pipe()
        except OSError:  # too many open files; it works without pipes, but slower
            self.usable = False
            return None

    def keep(self, pipe: Pipe) -> bool:
        """Whether ``pipe`` may stay with its user, with its bytes, until the user returns it."""
        if len(self._kept) < MOST:
            self._kept.add(pipe)
        return pipe in self._kept

    def give(self, pipe: Pipe) -> None:
        """Take back a pipe. Bytes that are left in it are discarded."""
        self._kept.discard(pipe)
        if not pipe.fit:
            self.usable = False
        if pipe.held or not self.usable or len(self._spare) >= SPARE:
            pipe.close()
        else:
            self._spare.append(pipe)
