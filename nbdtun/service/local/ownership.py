"""
Strangers: who else could put a directory of his own in the place of one of ours, and have QEMU connect to his sockets in it.

Whoever owns a directory, or may write to it where it is not sticky, can rename what is in it (rename(2)); and whoever owns a symbolic link
can let it lead elsewhere. ``/tmp`` is full of both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from nbdtun.errors import ConfigError

_UID_MAP, _OVERFLOW_UID = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")


def check(directory: Path, trusted: Collection[int]) -> None:
    """
    See that on the way to ``directory``, as far as there is one yet, nobody but root, this user and the uids that are ``trusted`` decides.

    :raise ConfigError: somebody else does.
    """
    known = {0, os.geteuid(), *_unmapped(), *trusted}
    for path in _way(directory):
        try:
            found = path.lstat()
        except OSError:
            continue  # not there yet, or not to be seen: whoever uses it will be told
        if found.st_uid not in known:
            raise ConfigError(f"run directory {directory}: {path} belongs to uid {found.st_uid}, who could replace what is in it")
        if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise ConfigError(f"run directory {directory}: everybody may replace what is in {path} (it is not sticky)")


def _unmapped() -> tuple[int, ...]:
    """Who the system's own root seems to be, in a namespace that does not map all users (user_namespaces(7))."""
    if _UID_MAP.read_text().split() == ["0", "0", "4294967295"]:
        return ()
    return (int(_OVERFLOW_UID.read_text()),)


def _way(directory: Path) -> Iterator[Path]:
    """All directories and links on the way, those behind links too."""
    for end in dict.fromkeys((directory, Path(os.path.realpath(directory)))):
        yield from (end, *end.parents)
