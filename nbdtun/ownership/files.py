"""
Files at paths that an operator has named, for a process that works as that operator: certificates, and twistd's pidfile.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TextIO


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


def append_to(path: Path) -> TextIO:
    """
    Open the file ``path`` to add lines to it; if there is none, it is made, for this user alone.

    :raise OSError: that cannot be, or it is a link.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def remove_file(path: str) -> None:
    """Remove the file ``path``, if that can be done."""
    with contextlib.suppress(OSError):
        os.unlink(path)
