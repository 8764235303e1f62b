"""
Run directories: where the sockets live that a process makes for itself.

Each process has one of its own below a common base. It holds a lock on it while it lives, so that whoever comes later can tell the
directories of the living from those that a killed process left behind, and clears the latter away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nbdtun.config import Owner, check_socket_path
from nbdtun.errors import ConfigError
from nbdtun.migration.qmp.monitor import Credentials
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


def make_base(base: Path) -> None:
    """
    Make the directory ``base``, which QEMU's user must pass, whatever the umask: twistd gives its daemons 077.

    :raise OSError: that cannot be.
    """
    umask = os.umask(0o066)
    try:
        base.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(umask)


class RunDir:
    """
    A directory of this process's own, mode 0700, which belongs to ``owner`` where one is given (QEMU's user; root can use it all the same).

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

    def check(self, *trusted: int) -> None:
        """
        See that its sockets' paths are not too long, and that nobody could put another in its place, but root, this user, its owner, and
        the uids that are ``trusted``.

        :raise ConfigError: they would be, or somebody could.
        """
        try:
            check_socket_path(str(self.base / (_PREFIX + "x" * 8) / ("x" * LONGEST_NAME)))
            ownership.check(self.base, trusted if self._owner is None else (self._owner.uid, *trusted))
        except ConfigError as error:
            raise ConfigError(str(error), "--run-dir says where else") from None

    def socket(self, name: str) -> str:
        """The path for a socket in it."""
        return str(self.path / name)

    def subdirectory(self, name: str) -> Path:
        """Make a directory in it, which belongs to the same owner."""
        made = self.path / name
        made.mkdir(mode=0o700)
        self._give(made)
        return made

    def give_to(self, owner: Owner) -> None:
        """Let ``owner`` use it, unless somebody else was named to begin with."""
        if self._owner is None:
            self._owner = owner
            if self._path is not None:
                self._give(self._path)

    @property
    def owner(self) -> Owner | None:
        """Whose it is, where that is not this process's user."""
        return self._owner

    def sweep(self) -> None:
        """Clear away what killed processes have left beside it; done by the way when it is made."""
        with contextlib.suppress(OSError), locked(self.base):
            _clear_abandoned(self.base)

    def owner_for(self, qemu: Credentials) -> Owner | None:
        """Whose it is, or would be if :func:`give_to_qemu` were called."""
        return self._owner or (Owner(qemu.uid, qemu.gid) if os.geteuid() == 0 and qemu.uid != 0 else None)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._lock)
            self._path = None

    def _make(self) -> Path:
        make_base(self.base)
        self.check()
        with locked(self.base):  # or another process might take ours for an abandoned one before it is locked
            _clear_abandoned(self.base)
            made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self.base))
            self._lock = _lock(made)
        self._give(made)
        return made

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, self._owner.uid, self._owner.gid)


def give_to_qemu(rundir: RunDir, qemu: Credentials) -> None:
    """Where QEMU runs as another user than root, and we may, let the directory be that user's."""
    owner = rundir.owner_for(qemu)
    if owner is not None:
        rundir.give_to(owner)


def _lock(path: Path, flags: int = 0) -> int:
    """Lock a directory, until the descriptor that is returned is closed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def locked(path: Path, flags: int = 0) -> Iterator[None]:
    """Hold the lock of a directory."""
    descriptor = _lock(path, flags)
    try:
        yield
    finally:
        os.close(descriptor)


def _clear_abandoned(base: Path) -> None:
    for path in base.glob(_PREFIX + "*"):
        # One that cannot be locked is in use, or somebody else's, or just gone.
        with contextlib.suppress(OSError), locked(path, fcntl.LOCK_NB):
            shutil.rmtree(path)
