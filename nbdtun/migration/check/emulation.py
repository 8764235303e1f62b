"""
Whether QEMU itself would lose some of what the guest writes to its memory while that is sent: an old one that emulates its processors.

QEMU facts (``cpu_physical_memory_sync_dirty_bitmap`` in ``include/exec/ram_addr.h``; mended in 9.0 by 03bfc2188f, "physmem: Fix migration
dirty bitmap coherency with TCG memory access", and in no 7.2 up to 7.2.22): whoever emulates (TCG) remembers which pages it may write to
without noting that they have changed. Before 9.0 that is not forgotten when the notes are collected, so what is written from then on is
not sent, and the destination has an older page. It befalls blocks of memory of whole 64 pages; for others the notes are collected page by
page, which was always right. KVM keeps its own notes.

Measured with 7.2.22 alone, over a UNIX socket, both memories compared before the guest ran on: with a downtime of 2 ms at 32 MiB/s, 18 of
60 migrations of a guest that writes 20 lines a second to its disk arrived with pages that differed, and 8 of 8 of one that only counts.
With 8 KiB more of memory none of 60 did, and with 10.0 none of 12.
"""

from __future__ import annotations

from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.requirements import version

MENDED = (9, 0, 0)
#: Bytes: a word of the notes, at a bit for each of x86's pages.
COLLECTED_AT_ONCE = 64 * 4096
REMEDY = "use KVM, or QEMU 9.0 or later, or pause the guest before the migration"


async def memory_loss_risk(monitor: Monitor) -> str:
    """Say so, in a few words, if this QEMU may lose what its guest writes; empty if it does not."""
    if not await monitor.has("query-kvm") or (await monitor.execute("query-kvm"))["enabled"]:
        return ""
    found = await version(monitor)
    if found >= MENDED:
        return ""
    blocks = await monitor.execute("query-memdev")
    if all(block["size"] % COLLECTED_AT_ONCE for block in blocks):
        return ""
    return f"QEMU {found} without KVM may lose memory writes that the guest makes during a migration"
