"""
The way out of an unknown outcome: both libvirts are asked, and the domain ends up in one place.

- Its guest runs at the destination, or has run there: the one here is ended.
- It has not, and now never will, since the destination ended what waited for a guest: the one here goes on.
- It has run there, and is gone there: nothing is ended here, since that would be the last of it.
- Another process keeps libvirt waiting, and asks the destination again and again: that one ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any, Final

from twisted.internet.task import deferLater

from nbdtun.errors import GuestLost, LibvirtError, MigrationError, NotMigratable, OutcomeUnknown
from nbdtun.kept import Kept
from nbdtun.libvirt.connection import NO_DOMAIN, Libvirt
from nbdtun.libvirt.near.departure import Plan
from nbdtun.libvirt.near.job import Job
from nbdtun.libvirt.near.pending import MOVED, STAYED, Pending, pending, pending_of
from nbdtun.libvirt.near.session import FarSession
from nbdtun.libvirt.near.settling import is_gone
from nbdtun.libvirt.near.survey import BLOCKED, OFF, PAUSED, RUNNING
from nbdtun.libvirt.near.way import Way
from nbdtun.libvirt.values import Fate
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.progress import Phase, Progress

#: virDomainPausedReason of a guest that an operator has paused: such a one is not ours to wake.
_BY_USER: Final = 1

#: Seconds between two looks at what another process has found out.
_LOOK: Final = 0.5

_NOTHING: Final = "there is nothing to resolve"

State = tuple[int, int]


class Settlement:
    """Resolves the unknown outcome of a migration of the domain that ``plan`` names. ``checklist`` may have findings."""

    def __init__(self, reactor: Any, libvirt: Libvirt, way: Way, plan: Plan, report: Callable[[Progress], None]) -> None:
        self.checklist = Checklist()
        self._reactor = reactor
        self._libvirt = libvirt
        self._plan = plan
        self._report = report
        self._way = way
        self._began = reactor.seconds()
        self._job = Job(libvirt)

    def __repr__(self) -> str:
        return f"<Settlement of {self._plan.settings.vm}>"

    async def run(self) -> Progress:
        """
        Resolve it; returns when the domain is at the destination, and no other is here.

        :raise NotMigratable: libvirt has not brought its migration to an end.
        :raise LibvirtError: it is not here, or off, and nothing is known of it.
        :raise OutcomeUnknown: it is still unknown; the domain here stays paused.
        :raise GuestLost: it has run there, and is gone there; what is here stays as it is.
        :raise MigrationError: it did not arrive, and runs at the source again; or there is no unknown outcome, and it is here.
        """
        vm = self._plan.settings.vm
        self.checklist.raise_failures(vm)
        uuid, state = await self._look()
        kept = pending(self._plan.state, uuid) if uuid else pending_of(self._plan.state, vm)
        left = None if kept is None else kept.read()
        self._progress(Phase.FINISH)
        if kept is not None and left is not None and (left.ended or left.is_held):
            left = await self._wait(kept, left)
            uuid, state = await self._follow(left)
            if _agrees(left, state):
                kept.erase()
                if left.ended == STAYED:
                    raise _stayed(vm, state)
                if state is not None:  # it was kept
                    self._job.uuid = uuid
                    await self._job.end(undefine=False)
                return self._progress(Phase.COMPLETED)
        if state is None and (left is None or kept is None):
            raise LibvirtError(f"{vm} is not at the source; {_NOTHING} here", number=NO_DOMAIN)
        if state is not None and state[0] != PAUSED and left is None:
            raise _nothing_to_resolve(vm, state)
        self._job.uuid = uuid or (left.uuid if left is not None else "")
        if state is not None and state[0] != OFF and await self._job.is_under_way():
            raise NotMigratable(f"libvirt still has a migration of {vm} under way", "wait for its end; `virsh domjobabort` ends it")
        return await self._ask(state, left, pending(self._plan.state, self._job.uuid))

    async def _look(self) -> tuple[str, State | None]:
        return await self._libvirt.do(lambda connection: _state(connection, self._plan.settings.vm))

    async def _wait(self, kept: Kept[Pending], left: Pending) -> Pending:
        """Another process has found out what became of it, or does so as soon as the destination can be reached."""
        until = self._reactor.seconds() + self._plan.settings.steps.settle
        while not left.ended and left.is_held:
            if self._reactor.seconds() >= until:
                why = f"the destination could not be asked what became of {left.name}; process {left.pid} keeps asking"
                raise OutcomeUnknown(why, f"kill {left.pid} lets it run on here")
            await deferLater(self._reactor, _LOOK)
            left = kept.read() or left
        left = kept.read() or left  # it may have said so since, and ended
        if not left.ended:
            raise OutcomeUnknown(f"{left.name}: process {left.pid} has ended without an outcome", "try again")
        return left

    async def _follow(self, left: Pending) -> tuple[str, State | None]:
        """The domain here once libvirt has done what it was told; or as it is, if much has happened since."""
        until = self._reactor.seconds() + self._plan.settings.steps.settle
        while True:
            uuid, state = await self._look()
            if _agrees(left, state) or self._reactor.seconds() >= until:
                return uuid, state
            await deferLater(self._reactor, _LOOK)

    async def _ask(self, state: State | None, left: Pending | None, kept: Kept[Pending]) -> Progress:
        """Ask the destination, and end one of the two."""
        vm = self._plan.settings.vm
        session, secret = ("", b"") if left is None else (left.session, bytes.fromhex(left.secret))
        far = FarSession(self._reactor, self._way, session, secret, self._plan.settings.steps)
        runs = state is not None and state[0] in (RUNNING, BLOCKED)
        off = state is None or state[0] == OFF
        try:
            fate = await far.outcome(self._job.uuid, end=True, decided=runs or off)
        finally:
            far.close()
        if fate.has_run and is_gone(fate):
            raise self._gone(fate, kept, runs=runs, off=off)
        if fate.has_run and runs:
            await self._job.pause()
            what = f"{vm} has run at the destination, and ran here too; it is paused here"
            raise OutcomeUnknown(what, "--resolve once more ends the one here; `virsh destroy` there and `virsh resume` here keep it")
        if fate.has_run:
            if state is not None:
                await self._job.end(undefine=not self._plan.settings.keep_source)
            kept.erase()
            return self._progress(Phase.COMPLETED)
        if state is not None and state[1] == _BY_USER and left is None and not fate.begun:
            raise MigrationError(f"{vm} was paused at the source by its operator, and has not run at the destination; {_NOTHING}")
        if state is not None and state[0] == PAUSED and (left is None or left.runs):
            await self._job.resume()
            state = (RUNNING, 0)
        kept.erase()
        if state is None:
            raise LibvirtError(f"{vm} did not arrive and never will; it is not at the source any more", number=NO_DOMAIN)
        raise _stayed(vm, state)

    def _gone(self, fate: Fate, kept: Kept[Pending], *, runs: bool, off: bool) -> MigrationError:
        """
        It has run there, or may have, and does not any more.

        One that runs here is the only one: libvirt has let it run on, or an operator has decided that, or it has come back since. One that
        stands still here is not ended: nothing else is left of its guest.
        """
        vm = self._plan.settings.vm
        if runs or off:
            kept.erase()
        if runs:
            return (
                _stayed(vm, (RUNNING, 0))
                if fate.doubtful
                else MigrationError(f"{vm} has run at the destination, and is gone there; it runs here")
            )
        what = f"{vm} has run at the destination, or may have, and is {fate.state or 'gone'} there"
        if off:
            return GuestLost(f"{what}; it does not run here either")
        return GuestLost(
            f"{what}; it stays paused here", f"`virsh resume {vm}` has it go on from the handover; `virsh destroy {vm}` ends it here"
        )

    def _progress(self, phase: Phase) -> Progress:
        progress = Progress(time=time(), elapsed=self._reactor.seconds() - self._began, phase=phase, link=self._way.link)
        self._report(progress)
        return progress


def _nothing_to_resolve(vm: str, state: State) -> MigrationError:
    """No outcome is unknown here. One that runs is here; one that does not may have been ended after its arrival."""
    if state[0] in (RUNNING, BLOCKED):
        return MigrationError(f"{vm} is not paused at the source; {_NOTHING}")
    return LibvirtError(f"{vm} does not run at the source; {_NOTHING} here", number=NO_DOMAIN)


def _stayed(vm: str, state: State | None) -> MigrationError:
    now = {OFF: "is off at the source", PAUSED: "is paused at the source, as it was"}
    known = RUNNING if state is None else state[0]
    return MigrationError(f"{vm} did not arrive and never will; it {now.get(known, 'runs at the source again')}")


def _agrees(left: Pending, state: State | None) -> bool:
    """Whether the domain here is as another process has ended the handover; else something has happened since."""
    if left.ended == MOVED:
        return state is None or state[0] == OFF
    return state is not None and (state[0] in (RUNNING, BLOCKED) or (state[0] == PAUSED and not left.runs))


def _state(connection: Any, vm: str) -> tuple[str, State | None]:
    """The domain's UUID, and its state with the reason; empty and None if there is no such domain."""
    for found in connection.listAllDomains():
        if found.name() == vm:
            state, reason = found.state()
            return found.UUIDString(), (state, reason)
    return "", None
