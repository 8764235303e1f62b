"""
Whether QEMU itself may lose some of the guest's memory writes during a migration: an old QEMU that emulates its processors may.

QEMU facts (``cpu_physical_memory_sync_dirty_bitmap`` in ``include/exec/ram_addr.h``; fixed in 9.0 by 03bfc2188f, "physmem: Fix migration
dirty bitmap coherency with TCG memory access", and in no 7.2 up to 7.2.22): the emulator (TCG) remembers which pages it may write to
without marking them dirty. Before 9.0 it still does so after the dirty bits were collected: later writes are not sent, and the destination
has an older page. This affects blocks of memory of whole 64 pages; for others the bits are collected page by page, which was always right.
KVM has its own dirty log.

Measured with 7.2.22 alone, over a UNIX socket, both memories compared before the guest ran on: with a downtime of 2 ms at 32 MiB/s, 18 of
60 migrations of a guest that writes 20 lines a second to its disk arrived with pages that differed, and 8 of 8 of one that only counts.
With 8 KiB more of memory none of 60 did, and with 10.0 none of 12.
"""

from __future__ import annotations

from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.requirements import version

MENDED = (9, 0, 0)
#: Bytes of memory for one word of the dirty bitmap, with one bit for each of x86's pages.
COLLECTED_AT_ONCE = 64 * 4096


async def memory_loss_risk(monitor: Monitor) -> str:
    """The warning if this QEMU may lose its guest's writes; empty if it does not."""
    if not await monitor.has("query-kvm") or (await monitor.execute("query-kvm"))["enabled"]:
        return ""
    found = await version(monitor)
    if found >= MENDED:
        return ""
    blocks = await monitor.execute("query-memdev")
    if all(block["size"] % COLLECTED_AT_ONCE for block in blocks):
        return ""
    return f"QEMU {found} without KVM may lose memory writes that the guest makes during a migration"
