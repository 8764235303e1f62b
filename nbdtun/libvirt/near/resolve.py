"""
The way out of an unknown outcome: both libvirts are asked, and the domain ends up in one place.

- Its guest runs at the destination, or has run there: the one here is ended.
- It has not, and now never will, since the destination ended what waited for a guest: the one here goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from nbdtun.errors import MigrationError
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.near.departure import Plan, nothing_to_resolve
from nbdtun.libvirt.near.job import Job
from nbdtun.libvirt.near.session import FarSession
from nbdtun.libvirt.near.survey import PAUSED
from nbdtun.libvirt.near.way import Way
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.ids import new_session
from nbdtun.migration.progress import Phase, Progress

#: virDomainPausedReason of a guest that an operator has paused: such a one is not ours to wake.
_BY_USER = 1


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
        self._session = FarSession(reactor, way, new_session(), b"", plan.settings.steps)
        self._job = Job(libvirt)

    def __repr__(self) -> str:
        return f"<Settlement of {self._plan.settings.vm}>"

    async def run(self) -> Progress:
        """
        Resolve it; returns when the domain is at the destination, and no other is here.

        :raise NotMigratable: there is no unknown outcome.
        :raise OutcomeUnknown: it is still unknown; the domain here stays paused.
        :raise MigrationError: it did not arrive; it runs at the source again.
        """
        vm = self._plan.settings.vm
        self.checklist.raise_failures(vm)
        uuid, state = await self._libvirt.do(lambda connection: _state(connection, vm))
        self._job.uuid = uuid
        if state[0] != PAUSED:
            raise nothing_to_resolve(vm, "is not paused at the source")
        self._progress(Phase.FINISH)
        try:
            fate = await self._session.outcome(uuid, end=True)
        finally:
            self._session.close()
        if fate.has_run:
            await self._job.end(undefine=not self._plan.settings.keep_source)
            return self._progress(Phase.COMPLETED)
        if state[1] == _BY_USER and not fate.begun:
            raise nothing_to_resolve(vm, "was paused at the source by its operator, and has not run at the destination")
        await self._job.resume()
        raise MigrationError(f"{vm} did not arrive and never will; it runs at the source again")

    def _progress(self, phase: Phase) -> Progress:
        progress = Progress(time=time(), elapsed=self._reactor.seconds() - self._began, phase=phase, link=self._way.link)
        self._report(progress)
        return progress


def _state(connection: Any, vm: str) -> tuple[str, tuple[int, int]]:
    found = connection.lookupByName(vm)
    state, reason = found.state()
    return found.UUIDString(), (state, reason)
