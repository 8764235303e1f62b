"""
The destinations, asked by this process itself: for the memory that is free, and for a VM whose QEMU here has ended while nobody watched.

A source's QEMU is ended when its VM has arrived, and the process that did it may be killed before it can say so. Then only the destination
knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred

from nbdtun.config import MigrateSettings
from nbdtun.config.libvirt import DomainSettings
from nbdtun.deferreds import shield
from nbdtun.errors import NbdtunError, OutcomeUnknown
from nbdtun.evacuation.outcome import Fate, Outcome
from nbdtun.evacuation.values import Entry
from nbdtun.libvirt.near.session import FarSession
from nbdtun.logs import make_logger
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import Query, Room
from nbdtun.migration.ids import new_session
from nbdtun.process import Reactor
from nbdtun.service.checks.preflight import reach
from nbdtun.service.evacuation.places import Places
from nbdtun.service.libvirt.way import TunnelWay
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.carrier import TunnelCarrier
from nbdtun.tunnel.source.client import Source

T = TypeVar("T")

#: The run states of a QEMU that has a guest.
_PAUSED: Final = "paused"
_HAS_GUEST: Final = frozenset({"running", _PAUSED, "suspended"})

#: Seconds for the channels to end by themselves.
_SETTLE: Final = 3.0


class Whereabouts:
    """Asks the destinations of ``places``."""

    log = make_logger()

    def __init__(self, reactor: Reactor, places: Places) -> None:
        self._reactor = reactor
        self._places = places

    async def find(self, entry: Entry, outcome: Outcome) -> Outcome:
        """
        The outcome for a VM whose source is gone: it has arrived, or that is still unknown.

        A guest that is paused there may have been paused here, or has not been let go yet: nobody knows whether it is to run.
        """
        settings = self._places.settings(entry.vm, entry.move.place, entry.to)
        try:
            there = await self._ask(settings, entry)
        except NbdtunError as error:
            return evolve(outcome, fate=Fate.UNKNOWN, code=error.code, reason=f"it is not here any more, and {error}")
        if there and there != _PAUSED:
            return evolve(outcome, fate=Fate.ARRIVED)
        what = f"it is not here any more ({outcome.reason}), and {'is paused' if there else 'has no guest'} at {entry.to}"
        return evolve(outcome, fate=Fate.UNKNOWN, code=OutcomeUnknown.code, reason=what)

    async def memory(self, vm: str, place: str, to: str) -> int:
        """Bytes of memory that are free at a destination, asked as for ``vm``; -1 if it does not tell."""

        async def ask(source: Source, rundir: RunDir) -> int:
            return int((await self._answer(settings, source, rundir, Room))["memory"])

        settings = self._places.settings(vm, place, to)
        try:
            return await self._visit(settings, vm, ask)
        except NbdtunError as error:
            self.log.debug("{to} does not tell its memory: {reason}", to=to, reason=str(error))
            return -1

    async def state(self, vm: str, place: str, to: str) -> str:
        """
        The run state of the VM at a destination, as QEMU names it; empty if it has no guest there.

        :raise NbdtunError: the destination cannot be asked, or does not admit us.
        """
        settings = self._places.settings(vm, place, to)
        if isinstance(settings, MigrateSettings) and settings.by_ssh is not None and not settings.far.qmp:
            made = evolve(settings, far=evolve(settings.far, qmp=settings.answers.far(place)))  # its monitor, if nbdtun has made it
            if found := await self._state(made, vm):
                return found
        return await self._state(settings, vm)

    async def _state(self, settings: MigrateSettings | DomainSettings, vm: str) -> str:
        async def ask(source: Source, rundir: RunDir) -> str:
            answer = await self._answer(settings, source, rundir, Query, session=new_session(), secret=None, vm=vm)
            return str(answer["machine"]) if answer["machine"] in _HAS_GUEST else ""

        return await self._visit(settings, vm, ask)

    async def _ask(self, settings: MigrateSettings | DomainSettings, entry: Entry) -> str:
        """Its run state there; empty if it has no guest there. libvirt's session knows whether its guest has run."""
        if not isinstance(settings, DomainSettings):
            return await self._state(settings, entry.vm)

        async def ask(source: Source, rundir: RunDir) -> bool:
            return await self._has_run(settings, source, rundir, entry)

        return "running" if await self._visit(settings, entry.vm, ask) else ""

    async def _visit(self, settings: MigrateSettings | DomainSettings, vm: str, work: Callable[[Source, RunDir], Awaitable[T]]) -> T:
        """Do ``work`` with a tunnel to the destination."""
        checklist = Checklist()
        reached, source = await reach(self._reactor, settings, vm, checklist)
        rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
        try:
            checklist.raise_failures(vm)
            assert source is not None
            return await work(source, rundir)
        finally:

            async def end() -> None:
                if source is not None:
                    await source.drain(_SETTLE)
                    await source.stop()
                rundir.remove()
                if reached is not None:
                    await reached.acknowledge(settled=False)
                    await reached.close()

            await shield(Deferred.fromCoroutine(end()), lambda: None)

    async def _answer(
        self, settings: MigrateSettings | DomainSettings, source: Source, rundir: RunDir, command: Any, **arguments: Any
    ) -> dict[str, Any]:
        seconds = settings.migration.steps.answer
        control = await Control(self._reactor).open(TunnelCarrier(self._reactor, source, rundir), seconds)
        try:
            return await control.ask(command, seconds=seconds, **arguments)
        finally:
            control.hang_up()

    async def _has_run(self, settings: DomainSettings, source: Source, rundir: RunDir, entry: Entry) -> bool:
        session = FarSession(self._reactor, TunnelWay(self._reactor, source, rundir), new_session(), b"", settings.migration.steps)
        try:
            return (await session.outcome(entry.move.place, end=False)).has_run
        finally:
            session.close()
