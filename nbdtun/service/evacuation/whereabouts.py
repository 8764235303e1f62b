"""
The destination, asked for a VM whose QEMU here has ended while nobody watched.

A source's QEMU is ended when its VM has arrived, and the process that did it may be killed before it can say so. Then only the destination
knows.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve
from twisted.internet.defer import Deferred

from nbdtun.config import MigrateSettings
from nbdtun.config.libvirt import DomainSettings
from nbdtun.deferreds import shield
from nbdtun.errors import NbdtunError, OutcomeUnknown
from nbdtun.evacuation.outcome import Fate, Outcome
from nbdtun.evacuation.values import Entry
from nbdtun.libvirt.near.session import FarSession
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import Query
from nbdtun.migration.ids import new_session
from nbdtun.process import Reactor
from nbdtun.service.checks.preflight import reach
from nbdtun.service.evacuation.places import Places
from nbdtun.service.libvirt.way import TunnelWay
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.carrier import TunnelCarrier
from nbdtun.tunnel.source.client import Source

#: The run states of a QEMU that has a guest.
_HAS_GUEST: Final = frozenset({"running", "paused", "suspended"})

#: Seconds for the channels to end by themselves.
_SETTLE: Final = 3.0


class Whereabouts:
    """Asks the destinations of ``places``."""

    def __init__(self, reactor: Reactor, places: Places) -> None:
        self._reactor = reactor
        self._places = places

    async def find(self, entry: Entry, outcome: Outcome) -> Outcome:
        """The outcome for a VM whose source is gone: it has arrived, or that is still unknown."""
        settings = self._places.settings(entry.vm, entry.move.place, entry.to)
        try:
            there = await self._ask(settings, entry)
        except NbdtunError as error:
            return evolve(outcome, fate=Fate.UNKNOWN, code=error.code, reason=f"it is not here any more, and {error}")
        if there:
            return evolve(outcome, fate=Fate.ARRIVED)
        what = f"it is not here any more ({outcome.reason}), and has no guest at {entry.to}"
        return evolve(outcome, fate=Fate.UNKNOWN, code=OutcomeUnknown.code, reason=what)

    async def _ask(self, settings: MigrateSettings | DomainSettings, entry: Entry) -> bool:
        checklist = Checklist()
        reached, source = await reach(self._reactor, settings, entry.vm, checklist)
        rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
        try:
            checklist.raise_failures(entry.vm)
            assert source is not None
            ask = self._domain if isinstance(settings, DomainSettings) else self._qemu
            return await ask(settings, source, rundir, entry)
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

    async def _qemu(self, settings: MigrateSettings | DomainSettings, source: Source, rundir: RunDir, entry: Entry) -> bool:
        seconds = settings.migration.steps.answer
        control = await Control(self._reactor).open(TunnelCarrier(self._reactor, source, rundir), seconds)
        try:
            answer = await control.ask(Query, seconds=seconds, session=new_session(), secret=None, vm=entry.vm)
        finally:
            control.hang_up()
        return answer["machine"] in _HAS_GUEST

    async def _domain(self, settings: MigrateSettings | DomainSettings, source: Source, rundir: RunDir, entry: Entry) -> bool:
        session = FarSession(self._reactor, TunnelWay(self._reactor, source, rundir), new_session(), b"", settings.migration.steps)
        try:
            return (await session.outcome(entry.move.place, end=False)).has_run
        finally:
            session.close()
