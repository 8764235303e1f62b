"""
The identity of a VM on this host: its monitor's socket, whatever name or path leads there.

A VM's name is the destination's, and two VMs of this host may have the same one. The socket's device and inode are the same through every
link and mount. While a VM is migrated, its process holds an abstract name made of them, so that a second nbdtun need not wait for a
greeting that QEMU gives to one client only. Any user could hold that name: it shortens the wait, and decides nothing.
"""

from __future__ import annotations

import os
from hashlib import sha256

from twisted.internet.defer import Deferred

from nbdtun.deferreds import with_timeout
from nbdtun.errors import NotMigratable
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.presence import Presence, is_present
from nbdtun.process import Reactor

#: Seconds for the greeting of a QEMU whose monitor another nbdtun seems to hold.
GREETING_SECONDS = 1.0


def identity(qmp: str) -> str:
    """Return 64 hexadecimal digits for the socket at the path ``qmp``; for the path itself, if there is no such socket."""
    try:
        found = os.stat(qmp)
    except OSError:
        return sha256(os.path.abspath(qmp).encode()).hexdigest()
    return sha256(f"{found.st_dev}:{found.st_ino}".encode()).hexdigest()


class Hold:
    """This process's hold on the VM behind the monitor at the path ``qmp``."""

    def __init__(self, reactor: Reactor, qmp: str) -> None:
        self._reactor = reactor
        self._qmp = qmp
        self._presence = Presence(f"nbdtun-monitor-{identity(qmp)[:32]}")

    def __repr__(self) -> str:
        return f"<Hold on {self._qmp}>"

    async def connect(self, monitor: Monitor) -> None:
        """
        Connect ``monitor``, and hold the VM until :meth:`release`.

        :raise NotMigratable: another nbdtun holds it.
        :raise MonitorError: it cannot be connected to.
        """
        await self._connect(monitor, taken=not self._presence.acquire())

    async def look(self, monitor: Monitor) -> None:
        """Connect ``monitor``, as :meth:`connect`, but hold nothing: for a process that changes nothing."""
        await self._connect(monitor, taken=is_present(self._presence.name))

    async def _connect(self, monitor: Monitor, *, taken: bool) -> None:
        connecting = Deferred.fromCoroutine(monitor.connect())
        if taken:
            with_timeout(self._reactor, GREETING_SECONDS, connecting, lambda: self._taken(monitor.name))
        await connecting

    def _taken(self, vm: str) -> NotMigratable:
        what = f"{vm}: another nbdtun is migrating the VM behind {self._qmp}"
        return NotMigratable(what, "`nbdtun status` shows it, with the --run-dir that it has")

    def release(self) -> None:
        """Hold it no longer; safe to repeat."""
        self._presence.release()
