"""
The directory of one migration's sockets. libvirt's URIs name sockets that are at the same path on both hosts, so the far end names it.

At the source it belongs to this process's user, and QEMU's user can only pass through it.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from nbdtun.config.endpoints import check_socket_path
from nbdtun.errors import ConfigError, ProtocolViolation
from nbdtun.libvirt.far.arrivals import BASE, COMMON
from nbdtun.ownership import directories
from nbdtun.ownership.listening import clear_stale
from nbdtun.service.local import ownership

#: The longest name of a socket in it.
LONGEST = "libvirt.sock"


class SocketDirectory:
    """
    The directory ``path`` of ``session``, which the other end has named, in one of ``bases``. Sockets in it belong to ``owner`` (uid, gid).
    """

    def __init__(self, path: str, session: str, owner: tuple[int, int] | None, bases: Collection[str] = (BASE, COMMON)) -> None:
        self._bases = bases
        self.owner = owner if os.geteuid() == 0 and owner != (0, 0) else None
        self._path = Path(path)
        self._session = session
        self._made = False

    def __repr__(self) -> str:
        return f"<SocketDirectory {self._path} {'made' if self._made else 'not made'}>"

    def make(self) -> None:
        """
        Make it.

        :raise ProtocolViolation: its path is none that a session's directory has.
        :raise ConfigError: it cannot be made, or other users could replace it.
        """
        path = f"{self._path}"
        if path not in (f"{base}/{self._session}" for base in self._bases):
            raise ProtocolViolation("the destination has named a directory that is not its session's")
        check_socket_path(self.socket(LONGEST))
        base = self._path.parent
        ownership.check(base)
        sweep(base)
        try:
            directories.make_directories(f"{base}")
            with directories.opened(f"{base}") as parent:
                directories.make_within(parent, self._session, None)
            self._made = True
            with directories.opened(path) as made:
                directories.open_to_all(made)
        except OSError as failure:
            here = "is there already" if isinstance(failure, FileExistsError) else f"cannot be made: {failure.strerror}"
            raise ConfigError(f"the directory {path} {here}", "run nbdtun as root, or as the user of the session's libvirt") from failure

    def socket(self, name: str) -> str:
        """The path of a socket in it."""
        return f"{self._path}/{name}"

    def remove(self) -> None:
        """Remove it, with what is in it; safe to repeat."""
        if self._made:
            self._made = False
            directories.remove_tree(f"{self._path}")
            if f"{self._path.parent}" == BASE:
                with suppress(OSError):  # other migrations have theirs there
                    directories.remove_empty(BASE)


def sweep(base: Path) -> None:
    """Remove what killed sources have left in ``base``: at a destination, a directory has no socket for libvirt in it."""
    for stale in base.glob(f"*/{LONGEST}"):
        with suppress(ConfigError, OSError):
            for path in sorted(stale.parent.glob("*.sock")):
                clear_stale(f"{path}")
            directories.remove_empty(f"{stale.parent}")
