"""
Run directories: where the sockets live that a process makes for itself.

Each process has one of its own below a common base. It holds a lock on it while it lives, so that whoever comes later can tell the
directories of the living from those that a killed process left behind, and clears the latter away.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from nbdtun.config import Owner
from nbdtun.config.endpoints import check_socket_path
from nbdtun.errors import ConfigError
from nbdtun.ownership import directories
from nbdtun.ownership.reach import Credentials
from nbdtun.service.local import ownership

#: The longest name of a socket that is made in a run directory, in bytes.
LONGEST_NAME = 20

_PREFIX = "nbdtun-"


def default_base() -> Path:
    """
    Where run directories are, unless told otherwise: ``/run/nbdtun`` for root; for others the first that systemd has made for their service
    (``RuntimeDirectory=``, systemd.exec(5)), or the user's.
    """
    if os.geteuid() == 0:
        return Path("/run/nbdtun")
    if made := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(made.split(":")[0])
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "nbdtun" if runtime else Path(tempfile.gettempdir()) / f"nbdtun-{os.geteuid()}"


def base_of(run_dir: str | None) -> Path:
    """The directory that ``--run-dir`` means."""
    return Path(run_dir).absolute() if run_dir else default_base()


class RunDir:
    """
    A directory of this process's own, mode 0700. Where QEMU's user is another one, ``owner`` if that was said, it is 0711: it stays this
    process's, so that nobody can replace what is in it, and only what is made in it belongs to that user.

    It is made when it is first asked for a path, and removed by :meth:`remove`.
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
                raise ConfigError(f"run directory {self.base}: {failure.strerror}; --run-dir says where else") from failure
        return self._path

    @property
    def base(self) -> Path:
        """Where it is made: by whoever this process is when it comes to that, for twistd has --uid."""
        return base_of(self._wanted)

    def check(self) -> None:
        """
        See that its sockets' paths are not too long, and that nobody could put another in its place, but root and this user.

        :raise ConfigError: they would be, or somebody could.
        """
        try:
            check_socket_path(str(self.base / (_PREFIX + "x" * 8) / ("x" * LONGEST_NAME)))
            ownership.check(self.base)
        except ConfigError as error:
            raise ConfigError(str(error), "--run-dir says where else") from None

    def socket(self, name: str) -> str:
        """The path for a socket in it."""
        return str(self.path / name)

    def subdirectory(self, name: str, owner: Owner | None = None) -> Path:
        """Make a directory in it, which belongs to ``owner``."""
        made = self.path / name
        directories.make_within(self._lock, name, (owner.uid, owner.gid) if owner else None)
        if owner is not None:
            directories.open_to_all(self._lock)
        return made

    def give_to(self, owner: Owner) -> None:
        """Let the sockets in it be ``owner``'s, unless somebody else was named to begin with."""
        if self._owner is None:
            self._owner = owner
            if self._path is not None:
                directories.open_to_all(self._lock)

    @property
    def owner(self) -> tuple[int, int] | None:
        """Whose its sockets are (uid and gid), where that is not this process's user."""
        return (self._owner.uid, self._owner.gid) if self._owner else None

    def sweep(self) -> None:
        """Clear away what killed processes have left beside it; done by the way when it is made."""
        with contextlib.suppress(OSError), directories.locked(str(self.base)) as base:
            directories.remove_unlocked(base, _PREFIX)

    def owner_for(self, qemu: Credentials) -> Owner | None:
        """Whose it is, or would be if :func:`give_to_qemu` were called."""
        return self._owner or (Owner(qemu.uid, qemu.gid) if os.geteuid() == 0 and qemu.uid != 0 else None)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        if self._path is not None:
            directories.remove_tree(str(self._path))
            os.close(self._lock)
            self._path = None

    def _make(self) -> Path:
        self.check()
        directories.make_directories(str(self.base))
        with directories.locked(str(self.base)) as base:  # or another process might take ours for an abandoned one before it is locked
            directories.remove_unlocked(base, _PREFIX)
            name, self._lock = directories.make_private(base, _PREFIX)
            directories.lock(self._lock)
        if self._owner is not None:
            directories.open_to_all(self._lock)
        return self.base / name


def give_to_qemu(rundir: RunDir, qemu: Credentials) -> None:
    """Where QEMU runs as another user than root, and we may, let the sockets be that user's."""
    owner = rundir.owner_for(qemu)
    if owner is not None:
        rundir.give_to(owner)
