"""
Recovery at the destination: the next daemon finds the journal of a killed one in QEMU, and removes its leftovers.

A QEMU that had begun to wait for its memory has used up its one chance to receive it. It is ended, as its own daemon would have done,
unless the guest may already run in it. Where nobody will ask for the outcome any more, the next daemon does so as soon as it starts.

QEMU facts (7.2 and 10.0; ``migration/multifd.c``): with several connections for the memory, an incoming QEMU's main loop waits until each
has brought its part (``multifd_recv_sync_main``). If a connection ends in that moment, it waits for ever, and answers nothing. libvirt
kills such a QEMU, and so do we.
With ``exit-on-error`` off (9.1 and later), an incoming QEMU whose stream breaks stays, in the status ``failed``; one that
nobody has connected to stays in every version, in ``setup``.
"""

from __future__ import annotations

import os
import signal

from nbdtun.errors import MonitorError, MonitorLost, NotMigratable
from nbdtun.logs import make_logger
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End, Entry, erase, read
from nbdtun.migration.vm.exports import sweep
from nbdtun.migration.vm.machine import run_state
from nbdtun.migration.vm.memory import put, query_migration

log = make_logger()
#: A QEMU that does not answer ``quit`` for so long may be stuck.
STUCK_SECONDS = 5.0


async def read_ours(monitor: Monitor) -> Entry | None:
    """
    The journal of a session that came to this QEMU; None if there is none.

    :raise NotMigratable: it is one of a migration *from* this QEMU, whose guest must not be touched.
    """
    left = await read(monitor)
    if left is not None and left.end is not End.DESTINATION:
        why = f"{monitor.name}: a migration of this VM to another host has not ended"
        raise NotMigratable(why, "repeat `nbdtun migrate` on this host: it ends that one first")
    return left


async def clean_up(monitor: Monitor) -> list[str]:
    """
    Remove all leftovers, but not the guest; returns their names.

    :raise NotMigratable: the daemon that they belong to lives, or they belong to a migration from here.
    """
    left = await read_ours(monitor)
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

    :raise NotMigratable: it was ended, or the outcome of a migration to here, or from here, is not known yet.
    """
    left = await read_ours(monitor)
    if left is not None and left.handed_over and not left.alive and await run_state(monitor) in ("inmigrate", "paused"):
        why = f"{monitor.name}: its guest was handed over, and stands still there since nbdtun-dest was killed"
        raise NotMigratable(why, "run `nbdtun migrate --resolve` at its source")  # its journal is the only word of that
    if left is None or not _waited(left):
        return
    if await run_state(monitor) not in ("inmigrate", "paused") or (await query_migration(monitor)).status == "none":
        return  # its guest runs, or it did not begin to wait
    await end(monitor)
    raise NotMigratable(
        f"{monitor.name}: QEMU was receiving an earlier migration when nbdtun-dest was killed, so it has been ended; "
        f"start it again with -S -incoming defer"
    )


async def end_failed(monitor: Monitor) -> str | None:
    """
    End the QEMU if its memory can never arrive since its daemon was killed; returns that session's id, or None.

    One whose memory has arrived is left for its source to settle.
    """
    left = await read_ours(monitor)
    if left is None or not _waited(left) or await run_state(monitor) != "inmigrate":
        return None
    if (await query_migration(monitor)).status not in ("setup", "failed"):
        return None
    await end(monitor)
    return left.session


def _waited(left: Entry) -> bool:
    """Whether QEMU has waited for its memory, of a session that nobody works on and that was not handed over."""
    return left.began is not None and not left.handed_over and not left.alive


async def end(monitor: Monitor, *, stuck: bool = False) -> None:
    """
    End a QEMU that has used up its incoming migration. One that may be ``stuck`` for ever is killed if it does not answer.

    :raise MonitorError: it may not be killed by this user.
    """
    try:
        await monitor.execute("quit", seconds=STUCK_SECONDS if stuck else None)
    except MonitorLost:
        return  # it has ended before it answered
    except MonitorError:
        if stuck and monitor.credentials is not None and monitor.credentials.pid:
            _kill(monitor.name, monitor.credentials.pid)


def _kill(name: str, pid: int) -> None:
    log.warn("{vm}: QEMU (pid {pid}) waits for connections that have ended, and does not quit: it is killed", vm=name, pid=pid)
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        raise MonitorError(f"{name}: QEMU waits for connections that have ended, and this user may not kill it: kill -9 {pid}") from None
    finally:
        os.close(held)
