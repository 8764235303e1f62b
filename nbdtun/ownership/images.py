"""
Files and directories that are made for a QEMU at paths that an operator named: images, and the directories around them.

A new image is made where no file is, given to its owner by its descriptor, and removed only if the file is still the one that was made.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from attrs import frozen

from nbdtun.ownership.way import is_ours, open_directory, walked

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class MadeFile:
    """A file that was made at ``path``, as the kernel knows it."""

    path: str
    device: int
    inode: int


def make_file(path: str) -> tuple[int, MadeFile]:
    """
    Make an empty file, mode 0600, in a directory that exists; returns a descriptor of it, which the caller closes.

    :raise OSError: it cannot be made, or there is one.
    """
    directory = open_directory(os.path.dirname(path))
    try:
        made = os.open(os.path.basename(path), _NEW, 0o600, dir_fd=directory)
    finally:
        os.close(directory)
    found = os.fstat(made)
    return made, MadeFile(path, found.st_dev, found.st_ino)


def open_file(path: str) -> int:
    """
    Open a file or a block device to write to it; returns a descriptor, which the caller closes.

    :raise OSError: it cannot be opened, or is behind a link that another user can change, or is a hard link that another user could make.
    """
    with walked(path) as (directory, there):
        if not is_ours(os.fstat(directory)) and os.fstat(there).st_nlink != 1:
            raise PermissionError(errno.EPERM, "it is a hard link in another user's directory, and could be any user's file")
        return os.open(f"/proc/self/fd/{there}", os.O_RDWR | os.O_CLOEXEC)


def give(descriptor: int, owner: tuple[int, int], mode: int) -> None:
    """
    Give a file that we made to its owner, -1 for unchanged.

    :raise OSError: that cannot be.
    """
    if owner != (-1, -1):
        os.fchown(descriptor, *owner)
    os.fchmod(descriptor, mode)


def remove_made(made: MadeFile) -> None:
    """Remove a file that was made, unless another has taken its name."""
    with suppress(OSError):
        directory = open_directory(os.path.dirname(made.path))
        try:
            name = os.path.basename(made.path)
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if (found.st_dev, found.st_ino) == (made.device, made.inode):
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)


def remove_left(path: str) -> None:
    """Remove a socket, log or pidfile that a QEMU of ours has left; never a directory or a device."""
    with suppress(OSError):
        directory = open_directory(os.path.dirname(path))
        try:
            name = os.path.basename(path)
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) or stat.S_ISSOCK(mode) or stat.S_ISLNK(mode):
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)


def make_directory(path: str, owner: tuple[int, int]) -> None:
    """
    Make a directory, mode 0755, whose parent exists, and give it to its owner.

    :raise OSError: it cannot be made.
    """
    parent = open_directory(os.path.dirname(path))
    try:
        name = os.path.basename(path)
        os.mkdir(name, 0o755, dir_fd=parent)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        if owner != (-1, -1):
            os.fchown(made, *owner)
    finally:
        os.close(made)


def make_marker(directory: str, name: str) -> None:
    """
    Make an empty file in a directory.

    :raise OSError: it cannot be made.
    """
    at = open_directory(directory)
    try:
        os.close(os.open(name, _NEW, 0o644, dir_fd=at))
    finally:
        os.close(at)


def remove_marker(directory: str, name: str) -> None:
    """
    Remove it.

    :raise OSError: it cannot be removed.
    """
    at = open_directory(directory)
    try:
        os.unlink(name, dir_fd=at)
    finally:
        os.close(at)
