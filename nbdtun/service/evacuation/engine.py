"""
The loop of an evacuation: what is due is noted in the journal, and then done.

A step is in the journal before it is taken. So a later process that finds the step there may find it done or not, and asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from time import time
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nbdtun.errors import NbdtunError
from nbdtun.evacuation.budget import Parts, parts, shares
from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.overview import Overview
from nbdtun.evacuation.schedule import Now, Step, What, due
from nbdtun.evacuation.values import Entry
from nbdtun.migration.progress import Phase
from nbdtun.process import Reactor
from nbdtun.service.evacuation.aftermath import Aftermath, Say
from nbdtun.service.evacuation.book import Book, milliseconds, steady
from nbdtun.service.evacuation.child import Child
from nbdtun.service.evacuation.crew import Crew
from nbdtun.service.evacuation.hooks import Hook

#: Seconds between two looks at the processes, and between two reports.
TICK: Final = 0.1
REPORT: Final = 0.5

Report = Callable[[Overview], None]


class Engine:
    """Runs the evacuation in ``book`` to its end. ``say`` is called with a line about what an operator should know."""

    def __init__(self, reactor: Reactor, book: Book, crew: Crew, aftermath: Aftermath, report: Report, say: Say) -> None:
        self.book = book
        self._reactor = reactor
        self._crew = crew
        self._aftermath = aftermath
        self._report = report
        self._say = say
        self._busy: set[str] = set()
        self._heard: set[str] = set()
        self._late: set[str] = set()
        self._refused: dict[str, NbdtunError] = {}
        self._broken: BaseException | None = None
        self._reported = -math.inf

    def __repr__(self) -> str:
        return f"<Engine of {self.book!r}, {self._crew!r}>"

    @property
    def overview(self) -> Overview:
        """All of it as it is now."""
        book = self.book
        return Overview(time(), book.entries, self._crew.progress, book.terms.bandwidth, book.stopping, book.is_open, book.over)

    async def run(self) -> Overview:
        """
        Go on until nothing is left to do.

        :raise ConfigError: the journal cannot be written; the processes under way go on.
        """
        self._take_up()
        while self._crew.living or self._busy or not self.book.over:
            self._tell()
            self._look()
            if self._broken is not None:
                raise self._broken
            await deferLater(self._reactor, TICK)
        self._report(overview := self.overview)
        return overview

    def _tell(self) -> None:
        if (now := self._reactor.seconds()) - self._reported >= REPORT:
            self._reported = now
            self._report(self.overview)

    def stop(self) -> None:
        """Begin no more VMs; those under way go on."""
        self.book.stopping = True

    def roll_back(self) -> None:
        """Roll all back that can be."""
        self.book.stopping = self.book.cancelling = True

    def _take_up(self) -> None:
        """The processes of an engine before: living or not, they are looked at first."""
        for entry in self.book.entries:
            if entry.state is State.UNKNOWN:
                self.book.note(entry.after(Trigger.RESUME, not_before=0), "its outcome is asked for again")
            elif entry.state.under_way:
                self._crew.adopt(entry)

    def _look(self) -> None:
        """Look at the processes once, and take the steps that are due."""
        self._crew.ask(self._parts, self._switching)
        if self.book.is_open:
            self._late = {entry.vm for entry in self.book.entries if entry.state is State.HELD}
        for vm, child in [*self._crew.ended()]:
            self._soon(vm, self._ended(vm, child))
        for vm, progress in self._crew.progress.items():
            if progress.phase is Phase.HOLDING:
                self._holds(self.book[vm])
        for step in due(self.book.entries, self._now):
            self._take(step)
        for vm in self._crew.living if self.book.cancelling else [*self._refused]:
            if self.book[vm].state is not State.SETTLING:
                self._soon(vm, self._crew.cancel(vm), apart=True)

    def _holds(self, entry: Entry) -> None:
        if entry.state is State.COPYING:
            self.book.note(entry.after(Trigger.HOLD), "is ready to switch over")
        elif entry.state is State.SWITCHING and entry.vm not in self._busy | self._heard:  # an engine before has noted it, and was killed
            self._soon(entry.vm, self._let_go(entry.vm))

    @property
    def _now(self) -> Now:
        book, terms = self.book, self.book.terms
        return Now(
            time=steady(),
            copying=terms.copying,
            rules=terms.rules,
            open=book.is_open,
            stopping=book.stopping,
            roll_back=book.rolls_back,
            late=self._late,
            closed=book.strikes.closed,
            living=self._crew.living,
            watched=self._watched,
            full=book.full,
            busy=frozenset(self._busy),
            refused=frozenset(self._refused),
            lost=self._crew.lost,
            stuck=self._crew.stuck,
            away=self._away,
        )

    @property
    def _watched(self) -> frozenset[str]:
        """The VMs whose guest runs at the destination already, or runs on here: their process is about to end."""
        return frozenset(vm for vm, progress in self._crew.progress.items() if progress.phase is Phase.SETTLE or progress.phase.final)

    @property
    def _away(self) -> frozenset[str]:
        """The destinations to which links stay lost, and none is up."""
        stuck, linked = ({self.book[vm].to for vm in vms} for vms in (self._crew.stuck, self._crew.linked))
        return frozenset(stuck - linked)

    @property
    def _parts(self) -> Parts:
        phases = {vm: progress.phase for vm, progress in self._crew.progress.items() if not progress.phase.final}
        return parts(self.book.terms.bandwidth, self._crew.line, phases, self._switching)

    @property
    def _switching(self) -> frozenset[str]:
        """The VMs that have their turn, and whose migration is not decided."""
        return frozenset(entry.vm for entry in self.book.entries if entry.state is State.SWITCHING) - self._watched

    def _take(self, step: Step) -> None:
        entry = self.book[step.vm]
        if step.what is What.STAY:
            self._soon(step.vm, self._aftermath.stay(entry))
        elif step.what is What.START:
            self._soon(step.vm, self._start(entry, step.to))
        elif step.what is What.RELEASE:
            self._soon(step.vm, self._release(entry))
        elif step.what is What.SETTLE:
            self._settle(entry)
        elif step.what is What.ROLL_BACK:
            self._soon(step.vm, self._crew.cancel(step.vm), apart=True)

    async def _start(self, entry: Entry, to: str) -> None:
        entry = evolve(entry, to=to)
        if failed := await self._aftermath.hooked(Hook.BEFORE, entry):
            await self._aftermath.failed(evolve(entry, code=failed.code, reason=str(failed)))
            return
        begun = entry.after(Trigger.START, attempt=entry.attempt + 1, began=entry.began or milliseconds())
        self.book.note(begun, f"is migrated to {to}, attempt {begun.attempt}")
        part = self._shares_with(entry.vm)
        hold = [] if self.book.terms.libvirt else ["--hold"]
        self._begin(begun, *hold, bandwidth=part)

    def _shares_with(self, vm: str) -> int:
        phases = {name: each.phase for name, each in self._crew.progress.items()}
        return shares(self.book.terms.bandwidth, {**phases, vm: Phase.MIRROR}).get(vm, 0)

    def _settle(self, entry: Entry) -> None:
        begun = entry.after(Trigger.SETTLE, attempt=entry.attempt + 1)
        self.book.note(begun, "its outcome is asked for")
        self._begin(begun, "--recover")

    def _begin(self, entry: Entry, *words: str, bandwidth: int = 0) -> None:
        try:
            self._crew.start(entry, *words, bandwidth=bandwidth)
        except OSError as error:  # no process, no memory: as one that was killed at once
            self._say(f"{entry.vm}: nbdtun cannot be started: {error.strerror}")
            self._crew.adopt(entry)

    async def _release(self, entry: Entry) -> None:
        if refused := await self._aftermath.hooked(Hook.SWITCHOVER, entry):
            if entry.vm in self._crew.living:
                self._refused[entry.vm] = refused
            return
        self.book.note(entry.after(Trigger.RELEASE), "switches over")
        await self._let_go(entry.vm)

    async def _let_go(self, vm: str) -> None:
        if await self._crew.release(vm):
            self._heard.add(vm)

    async def _ended(self, vm: str, child: Child) -> None:
        """A process has ended."""
        self._heard.discard(vm)
        await self._aftermath.of(self.book[vm], child, self._refused.pop(vm, None))

    def _soon(self, vm: str, work: Coroutine[Any, Any, object], *, apart: bool = False) -> None:
        """Do the work of a step while the loop goes on; no other step is taken for the VM meanwhile, unless it is ``apart``."""
        if not apart:
            self._busy.add(vm)

        def done(result: object) -> None:
            if isinstance(result, Failure):
                self._broken = self._broken or result.value
            if not apart:
                self._busy.discard(vm)

        Deferred.fromCoroutine(work).addBoth(done)
