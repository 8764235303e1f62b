"""
The commands that a QEMU must support for a migration, at either end.

Its version is only shown, and forbids nothing: distributions backport, and forks have other versions. Only the supported commands
count. The newest of those below, ``block-export-add`` and ``yank``, came with QEMU 5.2 and 6.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from nbdtun.errors import NotMigratable
from nbdtun.migration.qmp.monitor import Monitor

#: The oldest QEMU that is tested.
OLDEST = "7.2"

SENDING = frozenset(
    {
        "blockdev-add",
        "blockdev-mirror",
        "block-job-cancel",
        "blockdev-del",
        "yank",
        "query-yank",
        "migrate",
        "migrate-continue",
        "migrate_cancel",
    }
)
RECEIVING = frozenset({"nbd-server-start", "nbd-server-stop", "block-export-add", "block-export-del", "migrate-incoming", "cont"})


async def require_commands(monitor: Monitor, commands: Iterable[str]) -> None:
    """
    Check that QEMU supports ``commands``.

    :raise NotMigratable: it does not; the text names the missing ones.
    """
    missing = sorted(set(commands) - await monitor.commands())
    if missing:
        raise NotMigratable(
            f"{monitor.name}: QEMU {await version(monitor)} does not support {', '.join(missing)}", f"use QEMU {OLDEST} or later"
        )


class Version(NamedTuple):
    """A QEMU's version, such as 7.2.22."""

    major: int
    minor: int
    micro: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.micro}"


async def version(monitor: Monitor) -> Version:
    """Query QEMU for its version."""
    told = (await monitor.execute("query-version"))["qemu"]
    return Version(told["major"], told["minor"], told["micro"])
