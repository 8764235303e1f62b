"""
Ways: from the root directory to a file, by descriptors, through no link that another user could have put there.

The owner of a directory can rename anything in it at any time; so can all who may write to it, unless it is sticky (rename(2)). An O_PATH
descriptor stays with the file that it was opened for, and O_NOFOLLOW opens a link itself (open(2)).
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: The most bytes of a socket's path: sockaddr_un.sun_path is 108 with its final NUL (unix(7)).
LONGEST_SOCKET_PATH = 107
#: The most links that the kernel follows in one path (path_resolution(7)).
MOST_LINKS = 40

_HELD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_UID_MAP, _OVERFLOW_UID = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")


def known() -> frozenset[int]:
    """The users that we trust: root, our own, and in a user namespace the one that the outer root appears as (user_namespaces(7))."""
    mapped = _UID_MAP.read_text().split() == ["0", "0", "4294967295"]
    return frozenset({0, os.geteuid()} if mapped else {0, os.geteuid(), int(_OVERFLOW_UID.read_text())})


def is_ours(directory: os.stat_result) -> bool:
    """Whether only root and we can write to a directory."""
    return directory.st_uid in known() and not directory.st_mode & 0o022


def _keeps_links(directory: os.stat_result) -> bool:
    """Whether a link in a directory can be replaced only by root, us and the link's owner."""
    return directory.st_uid in known() and bool(not directory.st_mode & 0o022 or directory.st_mode & stat.S_ISVTX)


def check_length(path: str) -> None:
    """
    Check that all programs can use this path for a socket; through a descriptor it could be longer.

    :raise OSError: it is too long.
    """
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


class _Walker:
    """The position on the way to ``path``; missing directories are made with the mode ``make``, if it is given."""

    def __init__(self, path: str, make: int | None) -> None:
        self._parts = deque(part for part in os.path.abspath(path).split("/") if part)
        self._make = make
        self._links = 0
        self.parent = os.open("/", _HELD)
        self.here = os.dup(self.parent)

    def walk(self) -> None:
        """Go to the end of the path."""
        while self._parts:
            name = self._parts.popleft()
            step = self._open(name)
            found = os.fstat(step)
            if stat.S_ISLNK(found.st_mode):
                try:
                    self._turn(name, step, found)
                finally:
                    os.close(step)
            else:
                os.close(self.parent)
                self.parent, self.here = self.here, step

    def _open(self, name: str) -> int:
        try:
            return os.open(name, _HELD, dir_fd=self.here)
        except FileNotFoundError:
            if self._make is None:
                raise
        with suppress(FileExistsError):  # another process was quicker
            os.mkdir(name, self._make, dir_fd=self.here)
        return os.open(name, _HELD, dir_fd=self.here)

    def _turn(self, name: str, link: int, found: os.stat_result) -> None:
        """Follow a link, if it can be trusted."""
        if found.st_uid not in known() or not _keeps_links(os.fstat(self.here)):
            raise OSError(
                errno.ELOOP, f"{name} is a symbolic link that users other than root and nbdtun's own can change; it is not followed"
            )
        self._links += 1
        if self._links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink("", dir_fd=link)
        self._parts.extendleft(reversed([part for part in target.split("/") if part]))
        if target.startswith("/"):
            os.close(self.here)
            self.here = os.open("/", _HELD)

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self.parent)
        os.close(self.here)


@contextmanager
def walked(path: str, make: int | None = None) -> Iterator[tuple[int, int]]:
    """
    Walk to ``path``, making missing directories with the mode ``make``; yields O_PATH descriptors of its directory, and of itself.

    :raise OSError: it does not exist, or is behind a link that is not followed.
    """
    walker = _Walker(path, make)
    try:
        walker.walk()
        yield walker.parent, walker.here
    finally:
        walker.close()


def open_directory(path: str, make: int | None = None) -> int:
    """
    Walk to a directory as :func:`walked` does; returns an O_PATH descriptor of it, which the caller closes.

    :raise OSError: it cannot be reached, or is not a directory.
    """
    with walked(path, make) as (_, here):
        return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)


def is_steady(path: str) -> bool:
    """Whether only root and we can change what the directory ``path`` leads to: for another program, which follows every link."""
    with suppress(OSError):
        os.close(open_directory(path))
        real = os.path.realpath(path)
        above = [real[:end] or "/" for end in range(len(real)) if real[end] == "/"]
        return is_ours(os.stat(real)) and all(_keeps_links(os.stat(each)) for each in above)
    return False
