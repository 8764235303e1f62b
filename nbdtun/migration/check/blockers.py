"""
What makes QEMU itself refuse to migrate a machine.

QEMU facts (7.2 and 10.0): the answer of ``query-migrate`` has ``blocked-reasons`` since 6.0, in words for people. A device that cannot be
migrated at all is named by its address (``non-migratable device: 0000:00:15.0/vhost-user-fs``). 9p blocks while its files are mounted in
the guest, and a mount is refused to the guest during a migration. A dump of the guest's memory pauses the guest, in the state ``save-vm``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from nbdtun.errors import NotMigratable
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.memory import ENDED, Migrated

#: That of a dump, which a check of the disks' users reports in other words.
DUMP: Final = "dump-guest-memory in progress"

_DEVICE: Final = re.compile(r"non-migratable device: 0000:00:([0-9a-f]{2}\.[0-9a-f])(?:/|$)")
#: By a part of the reason; the first that fits.
_REMEDIES: Final = (
    ("mounted in the guest", "unmount it in the guest"),
    (DUMP, "wait for it"),
    ("device", "unplug that device"),
    ("vhost", "unplug that device"),
    ("", "end what QEMU names"),
)


async def blockers(monitor: Monitor, hardware: Hardware | None = None) -> list[NotMigratable]:
    """
    Return an error for each reason, with its remedy; a device at the root bus is called by its name in ``hardware``.

    :raise NotMigratable: a migration is already running.
    """
    answer: dict[str, Any] = await monitor.execute("query-migrate")
    status = Migrated.of(answer).status
    if status not in ENDED | {"none"}:
        running = f"{monitor.name}: another tool is already migrating it ({status})"
        raise NotMigratable(running, "wait for it to end, or stop it with migrate_cancel")
    return [_blocker(monitor.name, reason, hardware) for reason in answer.get("blocked-reasons") or ()]


async def require_unblocked(monitor: Monitor) -> None:
    """
    Check that QEMU can migrate now.

    :raise NotMigratable: a migration is already running, or something in the machine blocks it.
    """
    found = await blockers(monitor)
    if found:
        raise found[0] if len(found) == 1 else NotMigratable("; ".join(map(str, found)))


def of_this_alone(found: Iterable[NotMigratable]) -> list[NotMigratable]:
    """Those that nothing else reports."""
    return [error for error in found if DUMP not in error.what]


def _blocker(name: str, reason: str, hardware: Hardware | None) -> NotMigratable:
    remedy = next(remedy for part, remedy in _REMEDIES if part in reason)
    found = _DEVICE.match(reason)
    device = next((each for each in hardware.devices if each.place == f"pci:{found[1]}"), None) if found and hardware else None
    return NotMigratable(f"{name} cannot be migrated: {f'QEMU cannot send the state of {device}' if device else reason}", remedy)
