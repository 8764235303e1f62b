"""
Recovery at the destination: the next daemon finds the journal of a killed one in QEMU, and removes its leftovers.

A QEMU that had begun to wait for its memory has used up its one chance to receive it. It is ended, as its own daemon would have done,
unless the guest may already run in it.
"""

from __future__ import annotations

from contextlib import suppress

from nbdtun.errors import MonitorError, NotMigratable
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import erase, read
from nbdtun.migration.vm.exports import sweep
from nbdtun.migration.vm.machine import run_state
from nbdtun.migration.vm.memory import put, query_migration


async def clean_up(monitor: Monitor) -> list[str]:
    """
    Remove all leftovers, but not the guest; returns their names.

    :raise NotMigratable: the daemon that they belong to lives.
    """
    left = await read(monitor)
    if left is None:
        return []
    if left.alive:
        raise NotMigratable(f"{monitor.name}: another nbdtun-dest is using it (process {left.pid})")
    removed = await sweep(monitor)
    await put(monitor, left.capabilities, left.parameters)
    await erase(monitor)
    return removed or ["its journal"]


async def end_used_up(monitor: Monitor) -> None:
    """
    End the QEMU if a killed daemon has let it wait for its memory.

    :raise NotMigratable: it was ended.
    """
    left = await read(monitor)
    if left is None or left.alive or left.began is None or left.handed_over:
        return
    if await run_state(monitor) not in ("inmigrate", "paused") or (await query_migration(monitor)).status == "none":
        return  # its guest runs, or it did not begin to wait
    with suppress(MonitorError):  # it may end before it answers
        await monitor.execute("quit")
    raise NotMigratable(
        f"{monitor.name}: QEMU was receiving an earlier migration when nbdtun-dest was killed, so it has been ended; "
        f"start it again with -S -incoming defer"
    )
