"""
Files at paths that an operator has named, for a process that works as that operator: certificates, and twistd's pidfile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TextIO

from nbdtun.ownership.way import open_directory

_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def make_folder(path: Path) -> None:
    """
    Make the directory ``path``, mode 0700, unless there is one.

    :raise OSError: that cannot be.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """
    Put ``content`` at ``path`` at once: others cannot read it before it has its ``mode``, not even while it is written.

    :raise OSError: that cannot be; what was there stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def keep_file(path: Path, content: bytes) -> None:
    """
    Put ``content`` at ``path`` for this user alone. Its directory is made, and what killed processes have left of this is removed.

    :raise OSError: that cannot be; what was there stays.
    """
    make_folder(path.parent)
    remove_drafts(path, own=True)
    replace_file(path, content, 0o600)


def append_to(path: Path) -> TextIO:
    """
    Open the file ``path`` to add lines to it; if there is none, it is made, for this user alone.

    :raise OSError: that cannot be; or it is a link or no file, or behind a link that another user could have put there.
    """
    descriptor = _opened(f"{path}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def end_of_file(path: str, most: int) -> bytes:
    """
    The last bytes of the file ``path``, at ``most`` so many.

    :raise OSError: as :func:`append_to`.
    """
    with os.fdopen(_opened(path, os.O_RDONLY), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read(most)


def _opened(path: str, flags: int) -> int:
    """A file in a directory where others may put what they want: a link, a second name of another file, a pipe."""
    directory = open_directory(os.path.dirname(os.path.abspath(path)))
    try:
        descriptor = os.open(os.path.basename(path), flags | _PLAIN, 0o600, dir_fd=directory)
    finally:
        os.close(directory)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EMLINK, "it is no file of its own", path)
    return descriptor


def is_locked(path: Path) -> bool:
    """
    Whether a process holds a lock on the file ``path`` (flock(2)); nothing is made or changed.

    :raise OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_file(path: str) -> None:
    """Remove the file ``path``, if that can be done."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def remove_drafts(path: Path, *, own: bool = False) -> None:
    """
    Remove what processes that were killed have left of their own :func:`replace_file`.

    ``own``: of one that had this process's id, too. In a container, a daemon has the same one each time.
    """
    with contextlib.suppress(OSError):
        for draft in path.parent.iterdir():
            name, _, pid = draft.name.rpartition(".")
            left = pid.isdigit() and (not os.path.exists(f"/proc/{pid}") or (own and int(pid) == os.getpid()))
            if name == f".{path.name}" and left:
                remove_file(f"{draft}")
