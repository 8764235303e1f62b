"""
RAM and device state: QEMU's own migration, at both ends.

QEMU facts (7.2 and 10.0):

- The source, with ``pause-before-switchover``: setup, active, (STOP), pre-switchover; after ``migrate-continue``: device,
  completed. ``migrate_cancel`` up to and in pre-switchover ends in cancelled, and QEMU starts the guest again by itself if it ran.
  ``cont`` on a source that has *completed* works, and activates its images again.
- ``migrate-incoming`` can be issued once in a QEMU's life ("The incoming migration has already been started"), and after a failure
  an incoming QEMU exits (7.2 always; 10.0 unless ``exit-on-error`` is false, and then it is of no more use, but reports the reason).
  So it is issued as late as possible.
- ``stop`` on a machine that waits for its migration means: do not run after arrival (QEMU clears ``autostart``). So this does
  not depend on ``-S``.
- The default ``max-bandwidth`` is 128 MiB/s.
- With ``multifd``, memory has several connections beside the main one (``migration/multifd.c``). It and ``multifd-channels`` must be the
  same at both ends, before ``migrate-incoming`` and ``migrate``: an end that has it alone waits for ever. QEMU before 8.0 takes the *first*
  connection that it accepts for the main one, so they must arrive in the order in which they were made. 7.2 now and then never cleans up
  when its connections break while it is ``active``, and then cannot be migrated again; not so while it is cancelling.
- QEMU cleans up some time after it has reported that a migration has failed. A ``migrate`` before that is refused ("duplicate yank
  instance"), and leaves 7.2 in ``setup`` for ever. ``query-yank`` tells when it is over.
- Capabilities can be changed only while no migration is under way.
- ``block-bitmap-mapping`` is not among the parameters until somebody sets it. It cannot be removed then, only emptied.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from attrs import frozen

from nbdtun.errors import CommandFailed, MemoryFailed, MonitorError, NotMigratable
from nbdtun.migration.carrier import Ingress, with_trouble
from nbdtun.migration.qmp.events import Listener
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.machine import RUNNING, run_state

Remember = Callable[[Mapping[str, bool], Mapping[str, Any]], Coroutine[Any, Any, None]]

MAPPING = "block-bitmap-mapping"
_MULTIFD = "multifd"
#: The earlier values of parameters that QEMU does not report.
_UNSET: Mapping[str, Any] = {MAPPING: []}

DEVICE_SECONDS = 10.0
#: How often QEMU is asked whether it has cleaned up behind a migration, in seconds.
CLEANING_SECONDS = 0.05
_MIGRATING = {"type": "migration"}
ENDED = frozenset({"completed", "failed", "cancelled"})


@frozen
class Migrated:
    """
    One answer of ``query-migrate``: QEMU's status, bytes sent, bytes left, and the error if there is one.

    ``seconds`` is how long it has lasted, up to its end if it has completed; 0 if QEMU does not report it. ``passes`` is how often QEMU
    has begun to go over the memory, ``throttle`` the percentage of time that ``auto-converge`` takes from the guest at present. ``page`` is
    the size of a page, in bytes.
    """

    status: str = "none"
    sent: int = 0
    left: int = 0
    passes: int = 0
    throttle: int = 0
    error: str = ""
    address: str = ""
    seconds: float = 0.0
    page: int = 4096

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Migrated:
        """Read the answer of ``query-migrate``; all of it is optional there."""
        ram = answer.get("ram", {})
        addresses = answer.get("socket-address") or [{}]
        return cls(
            status=answer.get("status", "none"),
            sent=ram.get("transferred", 0),
            left=ram.get("remaining", 0),
            passes=ram.get("dirty-sync-count", 0),
            throttle=answer.get("cpu-throttle-percentage", 0),
            error=answer.get("error-desc", ""),
            address=addresses[0].get("path", "") or ("a socket" if addresses[0] else ""),
            seconds=answer.get("total-time", 0) / 1000,
            page=ram.get("page-size", 0) or 4096,
        )


async def query_migration(monitor: Monitor, seconds: float | None = None) -> Migrated:
    """Query the state of this QEMU's migration; ``seconds`` as in :meth:`Monitor.execute`."""
    return Migrated.of(await monitor.execute("query-migrate", seconds=seconds))


async def stop(monitor: Monitor) -> None:
    """Have QEMU begin to cancel the memory's migration, before its connections are closed; :meth:`Outgoing.cancel` waits for the end."""
    if (await query_migration(monitor)).status not in ENDED | {"none", "device"}:
        await monitor.execute("migrate_cancel")


async def require_incoming(monitor: Monitor) -> None:
    """
    Check that QEMU waits for its migration, and that none has been started yet.

    :raise NotMigratable: it does not wait, or already listens elsewhere.
    """
    name, state, status = monitor.name, await run_state(monitor), await query_migration(monitor)
    if state != "inmigrate":
        raise NotMigratable(f"{name}: QEMU is {state}, not waiting for a migration", "start it with -S -incoming defer")
    if status.address or status.status != "none":
        raise NotMigratable(f"{name}: QEMU has already started an incoming migration", "restart it with -S -incoming defer")


class Tuning:
    """
    Capabilities and parameters of a QEMU's migration; :meth:`restore` puts the earlier values back.

    ``remember`` is called with the earlier values before anything is changed.
    """

    def __init__(self, monitor: Monitor, remember: Remember | None = None) -> None:
        self._monitor = monitor
        self._remember = remember
        self._capabilities: dict[str, bool] = {}
        self._parameters: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Tuning, was {self._capabilities} {self._parameters}>"

    async def set(self, undo: UndoStack, capabilities: Iterable[str], parameters: Mapping[str, Any]) -> None:
        """Switch ``capabilities`` on and set ``parameters``; may be repeated, with others."""
        there = await switched_on(self._monitor)
        before = {**_UNSET, **await self._monitor.execute("query-migrate-parameters")}
        off = dict.fromkeys((name for name in capabilities if not there.get(name, False)), False)
        self._capabilities |= off
        self._parameters = {name: before[name] for name in parameters if name in before} | self._parameters
        if self._remember is not None:
            await self._remember(self._capabilities, self._parameters)
        undo.push("restore the migration's parameters", self.restore)
        await put(self._monitor, dict.fromkeys(off, True), parameters)

    async def change(self, parameters: Mapping[str, Any]) -> None:
        """Change ``parameters`` while the memory is sent; after :meth:`restore`, which puts the earlier ones back, nothing is changed."""
        if self._parameters:
            await self._monitor.execute("migrate-set-parameters", parameters)

    async def restore(self) -> None:
        """Put the earlier values back; once."""
        capabilities, self._capabilities = self._capabilities, {}
        parameters, self._parameters = self._parameters, {}
        await put(self._monitor, capabilities, parameters)


async def switched_on(monitor: Monitor) -> dict[str, bool]:
    """All capabilities of a QEMU's migration, and whether they are on."""
    return {entry["capability"]: bool(entry["state"]) for entry in await monitor.execute("query-migrate-capabilities")}


async def spread(tuning: Tuning, undo: UndoStack, connections: int) -> None:
    """Let the memory have so many ``connections`` beside the main one; before its migration begins."""
    if connections:
        await tuning.set(undo, (_MULTIFD,), {"multifd-channels": connections})


async def gather(monitor: Monitor) -> None:
    """Let it have the main connection alone; before its migration begins."""
    await put(monitor, {_MULTIFD: False}, {})


async def spreadable(monitor: Monitor) -> bool:
    """Whether this QEMU's memory can have several connections."""
    return _MULTIFD in await switched_on(monitor)


async def put(monitor: Monitor, capabilities: Mapping[str, bool], parameters: Mapping[str, Any]) -> None:
    """Set these capabilities and parameters of a QEMU's migration."""
    if capabilities:
        entries = [{"capability": name, "state": state} for name, state in capabilities.items()]
        await monitor.execute("migrate-set-capabilities", {"capabilities": entries})
    if parameters:
        await monitor.execute("migrate-set-parameters", parameters)


class Outgoing:
    """The source's memory on its way; create it before the migration starts, since it listens from then on."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._ingress: Ingress | None = None
        self._events: Listener = monitor.listen("MIGRATION")

    def __repr__(self) -> str:
        return f"<Outgoing memory of {self._monitor.name}>"

    async def start(self, ingress: Ingress) -> None:
        """Send the memory through ``ingress`` until the guest is paused; :meth:`cancel` undoes it."""
        self._ingress = ingress
        await self._monitor.execute("migrate", {"uri": f"unix:{ingress.path}"})

    async def paused(self) -> None:
        """
        Wait until all memory except the last is sent and the guest is paused; lasts as long as the data does.

        :raise MemoryFailed: QEMU gave up.
        """
        await self._until("pre-switchover", None)

    async def proceed(self, seconds: float | None) -> None:
        """
        Send the last of it and the devices' state, within ``seconds``, None for no limit.

        :raise MemoryFailed: QEMU gave up.
        """
        await self._monitor.execute("migrate-continue", {"state": "pre-switchover"})
        await self._until("completed", seconds)
        self.close()

    async def _until(self, wanted: str, seconds: float | None) -> None:
        status = ""
        while status != wanted:
            status = (await self._events.next(seconds)).data["status"]
            if status in ENDED and status != wanted:
                why = (await query_migration(self._monitor)).error or "QEMU gives no reason"
                raise MemoryFailed(f"{self._monitor.name}: the memory migration ended ({status}): {with_trouble(why, self._ingress)}")

    def close(self) -> None:
        """Stop listening."""
        self._events.close()

    async def cancel(self) -> None:
        """Cancel it, if it runs; QEMU lets the guest run on by itself."""
        if (status := (await query_migration(self._monitor)).status) == "none":
            return
        with self._monitor.listen("MIGRATION") as events:
            if status not in ENDED:
                await self._end(events)
            while _MIGRATING in await self._monitor.execute("query-yank"):
                with suppress(MonitorError):
                    await events.next(CLEANING_SECONDS)

    async def _end(self, events: Listener) -> None:
        if not await self._has_ended(events):
            await self._monitor.execute("migrate_cancel")
        while (await query_migration(self._monitor)).status not in ENDED | {"none"}:
            await events.next()

    async def _has_ended(self, events: Listener) -> bool:
        """A migration that sends its last state must not be cancelled: it gets time to end by itself."""
        if (await query_migration(self._monitor)).status == "device":
            with suppress(MonitorError):
                await events.next(DEVICE_SECONDS)
        return (await query_migration(self._monitor)).status in ENDED


class Incoming:
    """The destination's memory."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def __repr__(self) -> str:
        return f"<Incoming memory of {self._monitor.name}>"

    async def hold(self) -> None:
        """Make sure that the guest does not run by itself after its arrival."""
        await self._monitor.execute("stop")

    async def listen(self, path: str) -> None:
        """
        Wait for the source on the UNIX socket ``path``; works once in a QEMU's life.

        A QEMU that supports ``exit-on-error`` is to stay and report its reason if it fails; others refuse the argument and do nothing.
        """
        arguments = {"uri": f"unix:{path}"}
        try:
            await self._monitor.execute("migrate-incoming", arguments | {"exit-on-error": False})
        except CommandFailed as error:
            if "exit-on-error" not in str(error):
                raise
            await self._monitor.execute("migrate-incoming", arguments)

    async def check(self) -> None:
        """
        Check that it has not failed.

        :raise MemoryFailed: it has.
        """
        now = await query_migration(self._monitor)
        if now.status == "failed":
            raise MemoryFailed(f"{self._monitor.name}: {now.error or 'the incoming migration failed'}")

    async def completed(self) -> None:
        """
        Wait until everything has arrived; lasts as long as the data does.

        :raise MemoryFailed: it never will arrive.
        """
        with self._monitor.listen("MIGRATION") as events:
            status = (await query_migration(self._monitor)).status
            while status != "completed":
                if status in ENDED:
                    why = (await query_migration(self._monitor)).error
                    raise MemoryFailed(f"{self._monitor.name}: {why or 'the incoming migration ' + status}")
                status = (await events.next()).data["status"]

    async def run(self) -> None:
        """
        Let the guest run.

        :raise CommandFailed: QEMU refused, and it certainly does not run.
        """
        try:
            await self._monitor.execute("cont")
        except CommandFailed:
            if await run_state(self._monitor) not in RUNNING:
                raise
