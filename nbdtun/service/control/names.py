"""
The names of control sockets: ``VM@KEY`` for a migration, and ``@PID`` for a daemon. A VM's name has no ``@``.

KEY is made of the identity of the VM's monitor. So a VM has one migration at a time, and two VMs with one name do not meet.
"""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from nbdtun.ownership.way import LONGEST_SOCKET_PATH
from nbdtun.service.local.monitors import identity

SUFFIX = ".sock"
_DAEMON = re.compile(r"@[0-9]{1,10}")
_KEY_DIGITS = 10


def directory(base: Path) -> Path:
    """The directory of the control sockets."""
    return base / "control"


@frozen
class Name:
    """The name of a control socket: ``vm`` (empty for a daemon), and the ``key`` that no other one has."""

    vm: str
    key: str

    @classmethod
    def of_vm(cls, vm: str, qmp: str) -> Name:
        """The name for the migration of ``vm``, whose monitor is at the path ``qmp``."""
        return cls(vm, identity(qmp)[:_KEY_DIGITS])

    @classmethod
    def of_daemon(cls, pid: int) -> Name:
        """The name for the daemon with that process id."""
        return cls("", str(pid))

    @classmethod
    def of_file(cls, path: Path) -> Name:
        """The reverse of :meth:`path`; a long VM's name may be cut there."""
        vm, _, key = path.name.removesuffix(SUFFIX).rpartition("@")
        return cls(vm, key)

    @property
    def text(self) -> str:
        """How an operator writes it: the VM's name, or ``@PID``."""
        return self.vm or f"@{self.key}"

    def path(self, base: Path) -> str:
        """Its path below ``base``; the VM's name is cut if a socket's path could not be so long."""
        room = LONGEST_SOCKET_PATH - len(f"{directory(base)}/@{self.key}{SUFFIX}".encode())
        return str(directory(base) / f"{self.vm[: max(1, room)]}@{self.key}{SUFFIX}")

    def present(self, base: Path) -> list[Path]:
        """The sockets with its key, under whatever VM's name."""
        return sorted(directory(base).glob(f"*@{self.key}{SUFFIX}"))

    def fits(self, vm: str) -> bool:
        """Whether it may be that of ``vm``."""
        return bool(self.vm) and vm.startswith(self.vm)


def is_daemon(text: str) -> bool:
    """Whether an operator means a daemon: ``@PID``."""
    return _DAEMON.fullmatch(text) is not None
