"""
Run directories, for the sockets that a process makes for itself.

Each process has its own below a common base, and holds a lock on it while it lives. So the next process can tell the directories in use
from those of killed processes, and removes the latter.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nbdtun.config import Owner
from nbdtun.config.endpoints import check_socket_path
from nbdtun.errors import ConfigError
from nbdtun.ownership import directories
from nbdtun.ownership.reach import Credentials
from nbdtun.service.local import ownership
from nbdtun.service.local.base import base_of

#: The longest name of a socket that is made in a run directory, in bytes.
LONGEST_NAME = 20

_PREFIX = "nbdtun-"


class RunDir:
    """
    A directory of this process's own, mode 0700. Where QEMU has another user, ``owner`` if given, the mode is 0711: the directory still
    belongs to this process, so that nobody else can replace its entries. Only the entries belong to QEMU's user.

    It is made when a path in it is first needed, and removed by :meth:`remove`.
    """

    def __init__(self, base: str | None = None, owner: Owner | None = None) -> None:
        self._wanted = base
        self._owner = owner
        self._path: Path | None = None
        self._lock = -1

    @property
    def path(self) -> Path:
        """
        The directory.

        :raise ConfigError: it cannot be made, or its sockets' paths would be too long.
        """
        if self._path is None:
            try:
                self._path = self._make()
            except OSError as failure:
                raise ConfigError(f"run directory {self.base}: {failure.strerror}; choose another with --run-dir") from failure
        return self._path

    @property
    def base(self) -> Path:
        """The directory that it is made in. The user counts that this process has by then: twistd has --uid."""
        return base_of(self._wanted)

    def check(self) -> None:
        """
        Check that its sockets' paths are not too long, and that only root and this user could replace it.

        :raise ConfigError: they are too long, or another user could.
        """
        try:
            check_socket_path(str(self.base / (_PREFIX + "x" * 8) / ("x" * LONGEST_NAME)))
            ownership.check(self.base)
        except ConfigError as error:
            raise ConfigError(str(error), "choose another with --run-dir") from None

    def socket(self, name: str) -> str:
        """The path for a socket in it."""
        return str(self.path / name)

    def subdirectory(self, name: str, owner: Owner | None = None) -> Path:
        """Make a directory in it that belongs to ``owner``."""
        made = self.path / name
        directories.make_within(self._lock, name, (owner.uid, owner.gid) if owner else None)
        if owner is not None:
            directories.open_to_all(self._lock)
        return made

    def give_to(self, owner: Owner) -> None:
        """Make ``owner`` the owner of the sockets in it, unless the constructor was given one."""
        if self._owner is None:
            self._owner = owner
            if self._path is not None:
                directories.open_to_all(self._lock)

    @property
    def owner(self) -> tuple[int, int] | None:
        """The owner of its sockets (uid and gid), where that is not this process's user."""
        return (self._owner.uid, self._owner.gid) if self._owner else None

    def sweep(self) -> None:
        """Remove the directories of killed processes beside it; making it does so too."""
        with contextlib.suppress(OSError), directories.locked(str(self.base)) as base:
            directories.remove_unlocked(base, _PREFIX)

    def owner_for(self, qemu: Credentials) -> Owner | None:
        """The owner of its sockets, or the one that :func:`give_to_qemu` would set."""
        return self._owner or (Owner(qemu.uid, qemu.gid) if os.geteuid() == 0 and qemu.uid != 0 else None)

    def remove(self) -> None:
        """Remove it, with all its entries."""
        if self._path is not None:
            directories.remove_tree(str(self._path))
            os.close(self._lock)
            self._path = None

    def _make(self) -> Path:
        self.check()
        directories.make_directories(str(self.base))
        with directories.locked(str(self.base)) as base:  # or another process might remove ours before it is locked
            directories.remove_unlocked(base, _PREFIX)
            name, self._lock = directories.make_private(base, _PREFIX)
            directories.lock(self._lock)
        if self._owner is not None:
            directories.open_to_all(self._lock)
        return self.base / name


def give_to_qemu(rundir: RunDir, qemu: Credentials) -> None:
    """Give the sockets to QEMU's user, if that is not root and this process is root."""
    owner = rundir.owner_for(qemu)
    if owner is not None:
        rundir.give_to(owner)
