"""An evacuation from its beginning, or from its journal: for the command, and for an application that embeds nbdtun."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from nbdtun.deferreds import shield
from nbdtun.errors import ConfigError, NotMigratable
from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.life import State
from nbdtun.evacuation.overview import Overview
from nbdtun.evacuation.plan import Plan
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry
from nbdtun.migration.rollback.presence import Presence
from nbdtun.ownership.given import is_there
from nbdtun.process import Reactor
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.service.evacuation.aftermath import Aftermath
from nbdtun.service.evacuation.book import Book
from nbdtun.service.evacuation.control import EvacuationControl
from nbdtun.service.evacuation.crew import Crew
from nbdtun.service.evacuation.engine import Engine
from nbdtun.service.evacuation.hooks import Hooks
from nbdtun.service.evacuation.places import Places
from nbdtun.service.evacuation.planning import plan
from nbdtun.service.evacuation.whereabouts import Whereabouts
from nbdtun.service.local.base import base_of
from nbdtun.service.local.outcomes import state_dir

#: The journal's name, where none is given.
JOURNAL: Final = "evacuation.journal"

Report = Callable[[Overview], None]
Say = Callable[[str], None]


def default_journal(run_dir: str | None) -> Path:
    """Where the journal of this host is."""
    return state_dir(run_dir) / JOURNAL


class Evacuation:
    """
    One evacuation with these ``terms``; or the one in ``journal``, where they are None. ``listed`` are the VMs of an edited plan.

    ``report`` is called about twice a second, ``say`` with a line about what an operator should know.

    :raise ConfigError: there is no destination.
    """

    def __init__(
        self,
        reactor: Reactor,
        terms: Terms | None,
        journal: Path,
        report: Report = lambda overview: None,
        say: Say = lambda line: None,
        listed: Sequence[str] | None = None,
    ) -> None:
        if terms is not None:
            terms.check_whole()
        self._reactor = reactor
        self._terms = terms
        self._journal = Journal(journal)
        self._report = report
        self._say = say
        self._listed = listed
        self._engine: Engine | None = None
        self._planning: Deferred[Plan] | None = None
        self._stopping = self._ending = False

    def __repr__(self) -> str:
        return f"<Evacuation {self._engine!r}>"

    async def run(self) -> Overview:
        """
        Run it to its end; whatever became of each VM is in the overview.

        :raise NotMigratable: another evacuation runs here, or the one in the journal has not come to its end.
        :raise JournalFailed: the journal cannot be written; the migrations under way go on.
        :raise NbdtunError: it cannot be begun.
        """
        presence: Presence | None = None
        try:
            terms = self._find()
            presence = _only_one(Places(terms).run_dir)
            if self._terms is not None:
                self._begin(await self._plan(terms))
            return await self._run(terms)
        finally:
            self._journal.close()
            if presence is not None:
                presence.release()

    def _find(self) -> Terms:
        """The terms of a new evacuation, or of the one in the journal."""
        nothing = ConfigError(f"there is no evacuation in the journal {self._journal.path}", "begin one without --resume")
        if self._terms is None and not is_there(self._journal.path):  # and none is made
            raise nothing
        self._journal.open()
        before = self._journal.terms()
        if self._terms is None and before is None:
            raise nothing
        if self._terms is None:
            assert before is not None
            return before
        left = [entry.vm for entry in self._journal.entries() if not entry.state.over or entry.state is State.UNKNOWN]
        if left:
            what = f"the evacuation in {self._journal.path} has not come to its end: {', '.join(left)}"
            raise NotMigratable(what, "`nbdtun evacuate --resume` goes on with it; to give it up, remove that file")
        return self._terms

    async def _plan(self, terms: Terms) -> Plan:
        """Plan it; one that is to be rolled back meanwhile is not begun (:exc:`CancelledError`)."""
        self._planning = Deferred.fromCoroutine(plan(self._reactor, terms, self._listed, hopeful=True))
        try:
            return await self._planning
        finally:
            self._planning = None

    def _begin(self, planned: Plan) -> None:
        self._journal.begin(planned.terms, [Entry(move) for move in planned.moves])

    async def _run(self, terms: Terms) -> Overview:
        places = Places(terms)
        crew = Crew(self._reactor, places, self._journal.files)
        book, hooks = Book(self._journal, terms), Hooks(terms.hooks, terms.hook_ms / 1000)
        aftermath = Aftermath(book, hooks, Whereabouts(self._reactor, places), self._say)
        self._engine = engine = Engine(self._reactor, book, crew, aftermath, self._report, self._say)
        control = ControlSocket(self._reactor, places.run_dir, Name.of_daemon(os.getpid()), EvacuationControl(engine))
        await control.open()
        try:
            if self._stopping:
                engine.stop()
            if self._ending:
                engine.roll_back()
            return await shield(Deferred.fromCoroutine(engine.run()), self.roll_back)
        finally:
            await control.close()

    def stop(self) -> None:
        """Begin no more VMs; those under way go on to their ends."""
        self._stopping = True
        if self._engine is not None:
            self._engine.stop()

    def roll_back(self) -> None:
        """Roll back what is under way, as far as possible, and begin nothing more."""
        self._ending = True
        if self._planning is not None:
            self._planning.cancel()
        if self._engine is not None:
            self._engine.roll_back()


def _only_one(run_dir: str | None) -> Presence:
    """Hold the name of this host's evacuation (:exc:`NotMigratable` if another process does)."""
    presence = Presence(f"nbdtun-evacuation-{sha256(f'{base_of(run_dir)}'.encode()).hexdigest()[:32]}")
    if not presence.acquire():
        raise NotMigratable("another `nbdtun evacuate` runs on this host", "`nbdtun status` shows it")
    return presence


def evacuate(
    reactor: Reactor,
    terms: Terms | None,
    journal: Path | None = None,
    report: Report = lambda overview: None,
    say: Say = lambda line: None,
    listed: Sequence[str] | None = None,
) -> Deferred[Overview]:
    """
    Move the VMs of this host to others; with ``terms`` of None, go on with the evacuation in ``journal``.

    Each VM has a process of its own, ``nbdtun migrate``. The Deferred fires with the last
    :class:`~nbdtun.evacuation.overview.Overview`, whatever became of each VM. Cancelling it rolls back what is under way.

    :raise NbdtunError: (in the Deferred) it cannot be begun, or its journal cannot be written.
    """
    run_dir = None if terms is None else Places(terms).run_dir
    return Deferred.fromCoroutine(Evacuation(reactor, terms, journal or default_journal(run_dir), report, say, listed).run())
