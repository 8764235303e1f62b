"""A destination's VMs, and those that arrive, for `nbdtun status`: an object for JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.config import VM
from nbdtun.deferreds import gather, with_timeout
from nbdtun.errors import NbdtunError
from nbdtun.libvirt.far.arrival import Arrival
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.register import Entry
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.ids import nbd_target, ram_target
from nbdtun.service.local.expiries import expiries
from nbdtun.tls.store import Store
from nbdtun.tunnel.destination.admission import Caller
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
    return {
        "vm": entry.vm,
        "session": session.ident[:8],
        "phase": DOES.get(session.state, session.state.value),
        **_whose(memory.caller or disks.caller),
        "disks": {"received": disks.received, "total": session.size},
        "memory": {"received": memory.received},
    }


async def _nowhere(vm: str) -> bool:
    return False


async def vms_of(sessions: Sessions, vms: Sequence[VM], elsewhere: Callable[[str], Awaitable[bool]] = _nowhere) -> list[dict[str, Any]]:
    """
    The VMs that may arrive, and the run states of their QEMUs: ``receiving`` with a session, here or in another process of the daemon
    (``elsewhere``); null where QEMU does not answer at once.
    """
    found: list[dict[str, Any]] = []
    for begin in range(0, len(vms), AT_ONCE):
        found += await gather(Deferred.fromCoroutine(_vm(sessions, vm, elsewhere)) for vm in vms[begin : begin + AT_ONCE])
    return found


async def _vm(sessions: Sessions, vm: VM, elsewhere: Callable[[str], Awaitable[bool]]) -> dict[str, Any]:
    async def ask() -> str:
        return "receiving" if await elsewhere(vm.name) else await sessions.machine(vm.name)

    return {"name": vm.name, "qmp": vm.qmp, "qemu": await _machine(sessions, vm.name, ask)}


async def _machine(sessions: Sessions, vm: str, ask: Callable[[], Coroutine[Any, Any, str]]) -> str | None:
    """A session holds the monitor, so then QEMU is not asked."""
    if vm in sessions.register.busy:
        return "receiving"
    try:
        return await with_timeout(sessions.reactor, ASK_SECONDS, Deferred.fromCoroutine(ask()), TimeoutError)
    except (NbdtunError, TimeoutError):
        return None


def arrivals_of(arrivals: Arrivals | None, tunnel: Destination) -> list[dict[str, Any]]:
    """The same for VMs of libvirt's, whose memory and disks libvirt itself sends."""
    return [_arrival(each, tunnel) for each in (() if arrivals is None else arrivals.under_way)]


def _arrival(arrival: Arrival, tunnel: Destination) -> dict[str, Any]:
    disks, memory, control = (tunnel.traffic(f"{kind}.{arrival.session}") for kind in ("disks", "memory", "libvirt"))
    return {
        "vm": arrival.wanted.name,
        "session": arrival.session[:8],
        "phase": "libvirt migrates it" if control.caller else "preparing",
        **_whose(memory.caller or disks.caller or control.caller),
        "disks": {"received": disks.received, "total": sum(image.capacity for image in arrival.wanted.images)},
        "memory": {"received": memory.received},
    }


def _whose(caller: Caller | None) -> dict[str, str | None]:
    return {"source": None, "certificate": None} if caller is None else {"source": caller.peer, "certificate": caller.name or None}


def links_of(tunnel: Source | Destination) -> dict[str, Any]:
    """How many channels there are, how many of them have a link now, and how the links have fared."""
    contact = tunnel.runtime.contact
    return {
        "channels": len(tunnel.channels),
        "links": sum(channel.figures.linked for channel in tunnel.channels),
        "link_lost_for": tunnel.lost_for,
        "links_lost": contact.losses,
        "down": round(contact.down, 1),
    }


def certificates_of(store: Store | None, certificate: str) -> dict[str, Any]:
    """When this end's ``certificate`` expires, and when each file of its TLS does: seconds since the epoch; nothing without TLS."""
    found = expiries(store, certificate)
    return {"certificate_expires": found.get(certificate), "certificates": found}
