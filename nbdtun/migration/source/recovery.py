"""
Recovery at the source: the journal of a killed migration is found, and that migration is rolled back or completed.

Before the handover the guest cannot run at the destination, so everything can be undone without asking there. From the handover on it
may, and the destination is asked, as ``resolve`` does. The work of others is not touched: a migration whose process lives, or one that
another tool has started since.

QEMU facts (7.2 and 10.0): a migration whose stream breaks fails, and a cancelled one is undone; in both cases QEMU lets the guest run on by
itself if it ran. In ``pre-switchover`` nothing is sent, so QEMU does not notice that its peer has gone, and waits for ever, with the guest
paused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.errors import MonitorError, NotMigratable, OutcomeUnknown
from nbdtun.logs import make_logger
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.control.commands import Outcome
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End, Entry, erase, read
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.outcome import STANDS, ask
from nbdtun.migration.vm import bitmaps
from nbdtun.migration.vm.guest import ENDING_MIGRATION_SECONDS, RESUMABLE
from nbdtun.migration.vm.machine import RUNNING, announce, run_state
from nbdtun.migration.vm.memory import ENDED, Migrated, Outgoing, put, query_migration
from nbdtun.migration.vm.mirror import sweep

#: Seconds by which QEMU's times may differ from ours for the same step.
SLACK_SECONDS = 10.0

#: Seconds that QEMU may take for the last of a migration.
LONGEST_END_SECONDS = 130.0


class Recovery:
    """Recovers from an earlier migration of the QEMU behind ``monitor``; asks the destination through ``carrier``."""

    log = make_logger()

    def __init__(
        self,
        reactor: IReactorTime,
        monitor: Monitor,
        carrier: Carrier,
        settings: MigrationSettings,
        uptime: Callable[[], float] = monotonic,
    ) -> None:
        self._reactor = reactor
        self._monitor = monitor
        self._carrier = carrier
        self._settings = settings
        self._uptime = uptime

    def __repr__(self) -> str:
        return f"<Recovery in {self._monitor.name}>"

    async def run(self) -> bool:
        """
        Roll back or complete the earlier migration; returns whether the VM has arrived at the destination.

        If not, it is at the source, as it was before, and can be migrated.

        :raise NotMigratable: another process is migrating this VM.
        :raise OutcomeUnknown: the VM was handed over, and it is unknown whether it runs there; the source stays paused.
        :raise MonitorError: QEMU does not answer.
        """
        left = await find(self._monitor, self._uptime())
        if left is None:
            return False
        if left.end is End.DESTINATION:
            await clean_up(self._reactor, self._monitor, left)
        elif left.handed_over and await run_state(self._monitor) not in RUNNING and await self._complete(left):
            self._log("was interrupted after the handover; the VM has arrived at the destination")
            return True
        else:
            await roll_back(self._reactor, self._monitor, left)
            self._log(f"was interrupted {_when(left)}; it has been rolled back, and the VM is at the source as before")
        return False

    def _log(self, what: str) -> None:
        self.log.info("{vm}: an earlier migration {what}", vm=self._settings.vm, what=what)

    async def _complete(self, left: Entry) -> bool:
        """Complete it if it has arrived; returns whether it has."""
        with undecided(self._settings.vm):
            if not await self._has_arrived(left):
                return False
            if self._settings.keep_source:  # else all of it ends with its QEMU; until then the journal tells the next attempt
                await clean_up(self._reactor, self._monitor, left)
        return True

    async def _has_arrived(self, left: Entry) -> bool:
        outcome = await ask(self._reactor, self._carrier, self._settings, left.session, secret=bytes.fromhex(left.secret))
        if outcome is Outcome.FRESH:
            raise OutcomeUnknown(
                f"{self._settings.vm} was handed over, then both the daemon and QEMU at the destination were restarted. "
                f"It is unknown whether the VM ran there. {STANDS}. "
                f"If it did not run there, `nbdtun migrate --resolve` lets the source go on"
            )
        return outcome is Outcome.ARRIVED


@contextmanager
def undecided(vm: str) -> Iterator[None]:
    """
    What interrupts the end of an earlier migration says nothing about a guest that was handed over.

    :raise OutcomeUnknown: it was cancelled, or QEMU does not answer here.
    """
    try:
        yield
    except (CancelledError, MonitorError) as error:
        why = str(error) or "the question was interrupted"
        raise OutcomeUnknown(
            f"{vm} was handed over by an earlier migration, and may run at the destination ({why}). "
            f"{STANDS}. Run `nbdtun migrate` again, or with --resolve"
        ) from error


def _when(left: Entry) -> str:
    if left.began is None:
        return "while it copied the disks"
    if left.switched is None:
        return "while it copied the memory"
    return "at the handover" if left.handed_over else "at the switchover"


async def find(monitor: Monitor, uptime: float) -> Entry | None:
    """
    The journal of a killed migration, at ``uptime`` seconds after the host's boot; None if there is none.

    :raise NotMigratable: another process or tool is migrating this VM, or it has not arrived here.
    """
    left = await read(monitor)
    if left is None:
        return None
    vm = monitor.name
    if left.alive:
        raise NotMigratable(f"{vm} is being migrated by another nbdtun (process {left.pid})")
    state, now = await run_state(monitor), await query_migration(monitor)
    if left.end is End.DESTINATION and state not in RUNNING | {"postmigrate"}:
        _check_arrived(vm, left, now.status)
    elif left.end is End.DESTINATION or not is_ours(left, now, uptime):
        _refuse(vm, state, now.status)
    return left


def _check_arrived(vm: str, left: Entry, status: str) -> None:
    """
    Its guest stands still where it came to. The handover is written down there once all of the guest is there: one that was not to run has
    arrived by it, and its source, if there still is one, is told so.
    """
    what = f"{vm} was arriving here when nbdtun-dest was killed"
    if not left.handed_over or status != "completed":
        raise NotMigratable(what, "run `nbdtun migrate` at its source again")
    if left.runs:
        remedy = "run `nbdtun migrate` at its source again; if no QEMU there has it, running or paused, `cont` it here"
        raise NotMigratable(f"{what}, and may have run here", remedy)


def is_ours(left: Entry, migrated: Migrated, uptime: float) -> bool:
    """
    Whether the migration that QEMU reports, at ``uptime`` seconds since boot, is the one of ``left``.

    Another tool may have started one since. QEMU does not report who started a migration, but how long ago that was.
    """
    if left.began is None:
        return False
    if migrated.status != "completed":
        return abs(uptime - migrated.seconds - left.began) < SLACK_SECONDS
    if left.switched is None:
        return False
    return -SLACK_SECONDS < migrated.seconds - (left.switched - left.began) < LONGEST_END_SECONDS


def _refuse(vm: str, state: str, status: str) -> None:
    """QEMU's latest migration is not ours: refuse, unless it has ended and the guest is here."""
    since = "after a migration by nbdtun was killed"
    if status not in ENDED | {"none"}:
        raise NotMigratable(f"{vm}: another tool has started to migrate it ({status}) {since}; wait for it to end")
    if status == "completed" and state not in RUNNING:
        raise NotMigratable(f"{vm}: another tool has migrated it {since}; if it runs elsewhere, quit it here")


async def roll_back(reactor: IReactorTime, monitor: Monitor, left: Entry) -> None:
    """
    Undo the migration of ``left``, in the order of its own rollback, and let the guest run on if it ran.

    :raise MonitorError: QEMU does not answer; this can be tried again.
    """
    await sweep(monitor, reactor)
    outgoing = Outgoing(monitor)
    outgoing.close()
    await outgoing.cancel()
    while await run_state(monitor) == "finish-migrate":
        await deferLater(reactor, ENDING_MIGRATION_SECONDS)
    if left.runs and await _stands_still(monitor, left):
        await monitor.execute("cont")
        await announce(monitor)
    await clean_up(reactor, monitor, left)


async def _stands_still(monitor: Monitor, left: Entry) -> bool:
    """Whether the migration of ``left`` is why the guest stands still; QEMU itself lets one run on that it has paused and not sent."""
    state = await run_state(monitor)
    if left.forced:
        return state in RESUMABLE
    completed = left.switched is not None and (await query_migration(monitor)).status == "completed"
    return completed and state == "postmigrate"


async def clean_up(reactor: IReactorTime, monitor: Monitor, left: Entry) -> None:
    """Remove all that is ours from QEMU, and the journal last; the guest stays as it is."""
    await sweep(monitor, reactor)
    await bitmaps.sweep(monitor)
    await put(monitor, left.capabilities, left.parameters)
    await erase(monitor)
