"""
Our own directories: made so that a replacement is noticed, given away by descriptor, and removed with all that others left in them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

from nbdtun.ownership.way import open_directory

#: The depth to which directories are emptied for removal. Ours are three deep; QEMU's user can nest them without limit.
DEEPEST = 16

#: Seconds to wait for a lock, and between two attempts. Ours are held for an instant, but whoever can read a directory can lock it.
PATIENCE, PAUSE = 3.0, 0.005

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_directories(path: str) -> None:
    """
    Make the directory ``path`` and its missing parents, passable for all users whatever the umask: twistd gives its daemons 077.

    :raise OSError: it cannot be made.
    """
    umask = os.umask(0o066)
    try:
        os.close(open_directory(path, make=0o777))
    finally:
        os.umask(umask)


def make_private(directory: int, prefix: str) -> tuple[str, int]:
    """
    Make a directory with mode 0700 and an unguessable name in ``directory``; returns the name, and a descriptor of it.

    :raise OSError: it cannot be made.
    """
    name = prefix + secrets.token_hex(4)
    os.mkdir(name, 0o700, dir_fd=directory)
    made = os.open(name, _FOLDER, dir_fd=directory)
    found = os.fstat(made)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or os.listdir(made):
        os.close(made)
        raise PermissionError(1, f"{name}: another process has put a different directory in its place")
    return name, made


def make_within(directory: int, name: str, owner: tuple[int, int] | None) -> None:
    """
    Make the directory ``name``, mode 0700, in one of our own, and give it to ``owner`` before any other user can put anything into it.

    :raise OSError: it cannot be made.
    """
    os.mkdir(name, 0o700, dir_fd=directory)
    if owner is not None:
        made = os.open(name, _FOLDER, dir_fd=directory)
        try:
            os.fchown(made, *owner)
        finally:
            os.close(made)


def open_to_all(directory: int) -> None:
    """Let all users pass through a directory of ours, but not list it. Its contents have modes of their own."""
    os.fchmod(directory, 0o711)


def make_if_missing(directory: int, name: str) -> int:
    """
    Make the directory ``name``, mode 0700, in ``directory``, unless it exists; returns a descriptor of it.

    :raise OSError: it cannot be made; NotADirectoryError for a link.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=directory)
    return os.open(name, _FOLDER, dir_fd=directory)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """
    Open a directory, for its names and its lock.

    :raise OSError: it cannot be opened.
    """
    way = open_directory(path)
    try:
        descriptor = os.open(".", _FOLDER, dir_fd=way)
    finally:
        os.close(way)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: str) -> Iterator[int]:
    """
    Hold the lock of a directory; yields a descriptor of it.

    :raise OSError: it cannot be opened, or another process keeps it locked for too long.
    """
    with opened(path) as descriptor:
        lock(descriptor)
        yield descriptor


def lock(directory: int) -> None:
    """
    Lock a directory, until its descriptor is closed.

    :raise OSError: another process keeps it locked for too long.
    """
    until = monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= until:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process keeps it locked") from None
        else:
            return
        sleep(PAUSE)


def remove_unlocked(directory: int, prefix: str) -> None:
    """Remove the directories in ``directory`` whose names begin with ``prefix`` and whose lock no process holds."""
    for name in os.listdir(directory):
        if name.startswith(prefix):
            with contextlib.suppress(OSError):  # in use, or of another user, or just gone
                _remove_unlocked(directory, name)


def _remove_unlocked(directory: int, name: str) -> None:
    found = os.open(name, _FOLDER, dir_fd=directory)
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _empty(found)
        os.rmdir(name, dir_fd=directory)
    finally:
        os.close(found)


def remove_tree(path: str) -> None:
    """Remove a directory and its contents, as far as possible; links are removed, never followed."""
    with contextlib.suppress(OSError):
        parent = open_directory(os.path.dirname(path))
        try:
            _remove(parent, os.path.basename(path))
        finally:
            os.close(parent)


def remove_empty(path: str) -> None:
    """
    Remove an empty directory.

    :raise OSError: it is not empty, or cannot be removed.
    """
    parent = open_directory(os.path.dirname(path))
    try:
        os.rmdir(os.path.basename(path), dir_fd=parent)
    finally:
        os.close(parent)


def _remove(parent: int, name: str, deep: int = 0) -> None:
    found = os.open(name, _FOLDER, dir_fd=parent)
    try:
        _empty(found, deep)
    finally:
        os.close(found)
    os.rmdir(name, dir_fd=parent)


def _empty(directory: int, deep: int = 0) -> None:
    for name in os.listdir(directory):
        with contextlib.suppress(OSError):  # rmdir of the directory reports it
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode) and deep < DEEPEST:
                _remove(directory, name, deep + 1)
            else:
                os.unlink(name, dir_fd=directory)
