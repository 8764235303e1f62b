"""A destination's VMs, and those that arrive, for `nbdtun status`: an object for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.config import VM
from nbdtun.deferreds import gather, with_timeout
from nbdtun.errors import NbdtunError
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.register import Entry
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.ids import nbd_target, ram_target
from nbdtun.tls.certificate import validity
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.source.client import Source

#: Seconds for a QEMU's answer. Another client of its monitor makes it wait for longer, and is not disturbed.
ASK_SECONDS = 2.0

#: The QEMUs that are asked at a time.
AT_ONCE = 16

#: The words of ``nbdtun migrate`` for each state of a session.
DOES = {
    State.NEW: "preparing",
    State.PREPARING: "preparing",
    State.PREPARED: "copying disks",
    State.LISTENING: "copying memory",
    State.FINISHING: "starting at the destination",
    State.FINISHED: "runs here, watched",
    State.ABORTING: "rolling back",
}


def sessions_of(sessions: Sessions, tunnel: Destination) -> list[dict[str, Any]]:
    """The sessions under way: for whom, from whom, and how much of them has arrived."""
    return [_session(entry, tunnel) for entry in sessions.register.busy.values()]


def _session(entry: Entry, tunnel: Destination) -> dict[str, Any]:
    session = entry.session
    disks, memory = tunnel.traffic(nbd_target(session.ident)), tunnel.traffic(ram_target(session.ident))
    caller = memory.caller or disks.caller
    return {
        "vm": entry.vm,
        "session": session.ident[:8],
        "phase": DOES.get(session.state, session.state.value),
        "source": caller and caller.peer,
        "certificate": (caller and caller.name) or None,
        "disks": {"received": disks.received, "total": session.size},
        "memory": {"received": memory.received},
    }


async def vms_of(sessions: Sessions, vms: Sequence[VM]) -> list[dict[str, Any]]:
    """The VMs that may arrive, and the run states of their QEMUs: ``receiving`` with a session, null where QEMU does not answer at once."""
    found: list[dict[str, Any]] = []
    for begin in range(0, len(vms), AT_ONCE):
        found += await gather(Deferred.fromCoroutine(_vm(sessions, vm)) for vm in vms[begin : begin + AT_ONCE])
    return found


async def _vm(sessions: Sessions, vm: VM) -> dict[str, Any]:
    return {"name": vm.name, "qmp": vm.qmp, "qemu": await _machine(sessions, vm.name)}


async def _machine(sessions: Sessions, vm: str) -> str | None:
    """A session holds the monitor, so then QEMU is not asked."""
    if vm in sessions.register.busy:
        return "receiving"
    try:
        return await with_timeout(sessions.reactor, ASK_SECONDS, Deferred.fromCoroutine(sessions.machine(vm)), TimeoutError)
    except (NbdtunError, TimeoutError):
        return None


def links_of(tunnel: Source | Destination) -> dict[str, int]:
    """How many channels there are, and how many of them have a link now."""
    return {"channels": len(tunnel.channels), "links": sum(channel.link is not None for channel in tunnel.channels)}


def expiry(tls_dir: str | None, certificate: str) -> float | None:
    """When this end's certificate expires, in seconds since the epoch; None without TLS, or if that cannot be read."""
    if tls_dir is None:
        return None
    try:
        found = validity((Path(tls_dir) / certificate).read_bytes())
    except OSError:
        return None
    return None if found is None else found.end
