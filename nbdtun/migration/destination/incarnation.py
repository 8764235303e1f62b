"""
A mark of one QEMU: it has it for as long as it lives, and no other QEMU at the same socket has it.

The next daemon goes on with the disks of a session whose daemon has ended. It may do so in the same QEMU only. One that has ended may have
lost what its mirrors had written: out of its own caches, and out of the kernel's if its host has ended too.

The mark is of QEMU's process (``presence``) and of the host's boot, or of its socket's file where that process is not seen, as from
another container: QEMU makes a new one each time.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.presence import identity

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def mark(monitor: Monitor) -> str:
    """The mark of the QEMU behind ``monitor``, which is connected: 32 hexadecimal digits, or "" if nothing tells it from another."""
    found = _process(monitor) or _file(monitor.path)
    return found and sha256(found.encode()).hexdigest()[:32]


def _process(monitor: Monitor) -> str:
    one = identity(monitor.credentials.pid) if monitor.credentials is not None else ""
    return one and f"{_boot()} {one}"


def _file(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_dev} {found.st_ino} {found.st_mtime_ns}"


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
