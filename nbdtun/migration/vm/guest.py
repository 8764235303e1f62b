"""
The source's guest: whether its operator wants it to run, and when the migration paused it.

A migration pauses a guest by itself, and an operator may do so meanwhile; both cause the same STOP event. The run state right after it
tells them apart: ``finish-migrate`` or ``postmigrate`` means the migration. ``paused`` means another client, and then the guest has to
stay paused at the destination; unless we paused it ourselves, because it would not converge (:meth:`Guest.pause`).

QEMU facts: when a migration is undone, QEMU lets a guest that ran run again by itself (``cont`` is refused until then). A guest that
was paused before is paused afterwards, but 7.2 calls that ``postmigrate`` if it had reached the switchover, and then refuses to migrate
it again until it has run; 10.0 restores the earlier state. After a migration that has completed, ``cont`` by any client lets it run on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.deferreds import with_timeout
from nbdtun.errors import MonitorError, MonitorLost, NbdtunError, NotMigratable
from nbdtun.migration.progress import GuestState
from nbdtun.migration.qmp.events import Event
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.machine import MIGRATING, RUNNING, announce, run_state

ENDING_SECONDS = 30.0
ENDING_MIGRATION_SECONDS = 0.1

RESUMABLE = frozenset({"paused", "postmigrate"})
USELESS = {
    "inmigrate": "it is itself waiting for an incoming migration; is --qmp the destination's?",
    "postmigrate": "it has moved already, or was paused during a rollback; run `nbdtun migrate --resolve` before you `cont` it",
    "shutdown": "the guest has shut down",
    "internal-error": "QEMU reports an internal error",
    "guest-panicked": "the guest has crashed",
    "save-vm": "a snapshot or a dump of it is being written; wait for it",
    "restore-vm": "a snapshot of it is being restored",
    "finish-migrate": "a migration of it is just finishing",
    "colo": "it is replicated by COLO",
}


async def migratable_state(monitor: Monitor) -> str:
    """
    The run state of a machine, if it can be migrated in that state.

    :raise NotMigratable: it cannot be migrated in its state.
    """
    state = await run_state(monitor)
    if state in USELESS:
        raise NotMigratable(f"{monitor.name} cannot be migrated: {USELESS[state]}")
    return state


class Guest:
    """
    ``runs``: it is to run in the end; ``stopped_at``: when the migration paused it, by the reactor's clock in seconds.

    ``alarm`` is called when its user shuts it down: nothing is left to migrate, and it must not be started elsewhere. So it is when
    another client lets it run on here after it :meth:`leaves`.
    """

    def __init__(self, monitor: Monitor, alarm: Callable[[Exception], None] = lambda _: None) -> None:
        self._alarm = alarm
        self.runs = False
        self.stopped_at: float | None = None
        self._paused_by_us = False
        self._leaves = False
        self._seen: GuestState | None = None
        self._monitor = monitor
        self._watch: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Guest of {self._monitor.name} {'runs' if self.runs else 'is paused'}>"

    @property
    def state(self) -> GuestState:
        """Whether it runs at the source, or was paused by somebody; what the end of a rollback has :meth:`seen` stands."""
        if self._seen is not None:
            return self._seen
        if self._watch is None:
            return GuestState.UNKNOWN
        return GuestState.RUNS if self.runs and not self._paused_by_us else GuestState.PAUSED

    async def look(self) -> None:
        """See what it does after a rollback, which does not have to end well: its QEMU may have ended."""
        self._seen = GuestState.UNKNOWN
        with suppress(NbdtunError):
            now = await run_state(self._monitor)
            self._seen = GuestState.RUNS if now in RUNNING else GuestState.PAUSED if now in RESUMABLE else GuestState.UNKNOWN

    async def check(self) -> None:
        """
        Check whether it runs, and watch it from now on.

        :raise NotMigratable: it cannot be migrated in its state.
        """
        self.runs = await migratable_state(self._monitor) in RUNNING
        self._watch = Deferred.fromCoroutine(self._follow())
        self._watch.addErrback(lambda _: None)

    async def _follow(self) -> None:
        with self._monitor.listen("STOP", "RESUME", "SHUTDOWN") as events:
            while True:
                await self._heed(await events.next())

    async def _heed(self, event: Event) -> None:
        if event.name == "SHUTDOWN":
            self._alarm(NotMigratable(f"{self._monitor.name}: the guest has shut down ({event.data.get('reason', '')})"))
        elif event.name == "RESUME":
            self._resumed()
        elif self._paused_by_us or await run_state(self._monitor) in MIGRATING:
            self.stopped_at = event.seconds
        else:
            self.runs = False

    def _resumed(self) -> None:
        self.runs, self._paused_by_us = True, False
        if self._leaves:
            why = "another client has let the guest run on here (cont) when all of its memory was sent"
            self._alarm(NotMigratable(f"{self._monitor.name}: {why}", "migrate it again"))

    def leaves(self) -> None:
        """All of it is sent. From now on QEMU does not let it run on by itself: whoever does so would make two of it."""
        self._leaves = True

    async def pause(self) -> None:
        """
        Pause it early, so that nothing changes any more; it is still to run in the end. :meth:`resume` undoes it.

        QEMU gets the command at once: later commands come after it in the monitor too.
        """
        if self.runs:
            self._paused_by_us = True
            await self._monitor.execute("stop")

    async def resume(self, clock: IReactorTime) -> None:
        """Let it run again if it ran; QEMU may have done so already, or be about to."""
        while self.runs:
            state = await run_state(self._monitor)
            if state in RESUMABLE:
                await self._monitor.execute("cont")
            if state != "finish-migrate":
                break
            await deferLater(clock, ENDING_MIGRATION_SECONDS)
        if self.runs and self.stopped_at is not None:  # the other QEMU may have announced it
            await announce(self._monitor)

    def unwatch(self) -> None:
        """Stop watching it."""
        if self._watch is not None:
            self._watch.cancel()

    async def end(self, clock: IReactorTime) -> None:
        """
        End its QEMU, and wait for that.

        :raise MonitorError: it does not answer.
        """
        late = f"{self._monitor.name}: QEMU is still running {ENDING_SECONDS:g} s after quit"
        for _ in range(2):  # a QEMU whose monitor was closed has not yet ended
            if not await self._monitor.renew():
                return
            ended = self._monitor.when_lost()
            with suppress(MonitorLost):
                await self._monitor.execute("quit")
            await with_timeout(clock, ENDING_SECONDS, ended, lambda: MonitorError(late))
