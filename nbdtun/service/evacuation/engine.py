"""
The loop of an evacuation: what is due is noted in the journal, and then done.

A step is in the journal before it is taken. So a later process that finds the step there may find it done or not, and asks. Nothing else is
kept in memory that a VM's safety depends on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from datetime import datetime
from time import time
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nbdtun.errors import NbdtunError
from nbdtun.evacuation.budget import Parts, parts, shares
from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.outcome import Fate, Outcome, of_migration, of_settlement
from nbdtun.evacuation.overview import Overview
from nbdtun.evacuation.retries import FULL, Strikes, after_failure, is_the_destinations, pause
from nbdtun.evacuation.schedule import Now, Step, What, due
from nbdtun.evacuation.terms import AtEnd, Terms
from nbdtun.evacuation.values import Entry
from nbdtun.logs import make_logger
from nbdtun.migration.progress import Phase
from nbdtun.process import Reactor
from nbdtun.service.evacuation.child import Child
from nbdtun.service.evacuation.crew import Crew
from nbdtun.service.evacuation.hooks import Hook, Hooks
from nbdtun.service.evacuation.whereabouts import Whereabouts

#: Seconds between two looks at the processes, and between two reports.
TICK = 0.1
REPORT = 0.5

Report = Callable[[Overview], None]
Say = Callable[[str], None]


class Engine:
    """Runs the evacuation in ``journal`` to its end. ``say`` is called with a line about what an operator should know."""

    log = make_logger()

    def __init__(
        self, reactor: Reactor, journal: Journal, terms: Terms, crew: Crew, whereabouts: Whereabouts, report: Report, say: Say
    ) -> None:
        self._reactor = reactor
        self._journal = journal
        self.terms = terms
        self._crew = crew
        self._whereabouts = whereabouts
        self._hooks = Hooks(terms.hooks, terms.hook_ms / 1000)
        self._report = report
        self._say = say
        self._entries = {entry.vm: entry for entry in journal.entries()}
        self._strikes = journal.strikes()
        self._busy: set[str] = set()
        self._heard: set[str] = set()
        self._late: set[str] = set()
        self._full: dict[str, int] = {}
        self.stopping = False
        self._cancelling = False
        self._broken: BaseException | None = None
        self._reported = -math.inf

    def __repr__(self) -> str:
        return f"<Engine {len(self._entries)} VMs, {self._crew!r}>"

    @property
    def overview(self) -> Overview:
        """All of it as it is now."""
        entries = tuple(self._entries.values())
        over = all(entry.state.over for entry in entries)
        return Overview(time(), entries, self._crew.progress, self.terms.bandwidth, self.stopping, self._is_open, over)

    async def run(self) -> Overview:
        """
        Go on until nothing is left to do.

        :raise ConfigError: the journal cannot be written; the processes under way go on.
        """
        self._take_up()
        while self._crew.living or self._busy or not all(entry.state.over for entry in self._entries.values()):
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

    def change(self, **changes: Any) -> None:
        """
        Change the terms, also for a later process that goes on with them.

        :raise JournalFailed: it cannot be written, and nothing has changed.
        """
        terms = evolve(self.terms, **changes)
        self._journal.amend(terms)
        self.terms = terms

    def stop(self) -> None:
        """Begin no more VMs; those under way go on."""
        self.stopping = True

    def roll_back(self) -> None:
        """Roll all back that can be."""
        self.stopping = self._cancelling = True

    def _take_up(self) -> None:
        """The processes of an engine before: living or not, they are looked at first."""
        for entry in [*self._entries.values()]:
            if entry.state is State.UNKNOWN:
                self._note(entry.after(Trigger.RESUME, not_before=0), "its outcome is asked for again")
            elif entry.state.under_way:
                self._crew.adopt(entry)

    def _look(self) -> None:
        """Look at the processes once, and take the steps that are due."""
        self._crew.ask(self._parts, self._switching)
        if self._is_open:
            self._late = {entry.vm for entry in self._entries.values() if entry.state is State.HELD}
        for vm, child in [*self._crew.ended()]:
            self._soon(vm, self._ended(vm, child))
        for vm, progress in self._crew.progress.items():
            if progress.phase is Phase.HOLDING:
                self._holds(self._entries[vm])
        for step in due(self._entries.values(), self._now):
            self._take(step)
        for vm in self._crew.living if self._cancelling else ():
            if self._entries[vm].state is not State.SETTLING:
                self._soon(vm, self._crew.cancel(vm), apart=True)

    def _holds(self, entry: Entry) -> None:
        if entry.state is State.COPYING:
            self._note(entry.after(Trigger.HOLD), "is ready to switch over")
        elif entry.state is State.SWITCHING and entry.vm not in self._busy | self._heard:  # an engine before has noted it, and was killed
            self._soon(entry.vm, self._let_go(entry.vm))

    @property
    def _now(self) -> Now:
        return Now(
            time=_milliseconds(),
            copying=self.terms.copying,
            rules=self.terms.rules,
            open=self._is_open,
            stopping=self.stopping,
            roll_back=not self._is_open and (self.terms.at_end is AtEnd.ROLL_BACK or bool(self.terms.libvirt)),
            late=self._late,
            closed=self._strikes.closed,
            living=self._crew.living,
            watched=self._watched,
            full={host for host, until in self._full.items() if until > _milliseconds()},
            busy=frozenset(self._busy),
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
        stuck, linked = ({self._entries[vm].to for vm in vms} for vms in (self._crew.stuck, self._crew.linked))
        return frozenset(stuck - linked)

    @property
    def _is_open(self) -> bool:
        return self.terms.hours is None or self.terms.hours.is_open(datetime.now())

    @property
    def _parts(self) -> Parts:
        phases = {vm: progress.phase for vm, progress in self._crew.progress.items() if not progress.phase.final}
        return parts(self.terms.bandwidth, self._crew.line, phases, self._switching)

    @property
    def _switching(self) -> frozenset[str]:
        """The VMs that have their turn, and whose migration is not decided."""
        return frozenset(entry.vm for entry in self._entries.values() if entry.state is State.SWITCHING) - self._watched

    def _take(self, step: Step) -> None:
        entry = self._entries[step.vm]
        if step.what is What.STAY:
            self._soon(step.vm, self._stay(entry))
        elif step.what is What.START:
            self._soon(step.vm, self._start(entry, step.to))
        elif step.what is What.RELEASE:
            self._soon(step.vm, self._release(entry))
        elif step.what is What.SETTLE:
            self._settle(entry)
        elif step.what is What.ROLL_BACK:
            self._soon(step.vm, self._crew.cancel(step.vm), apart=True)

    async def _stay(self, entry: Entry) -> None:
        move, code, reason = entry.move, entry.code, entry.reason
        if move.refused:
            code, reason = move.code, move.refused
        elif self.stopping:
            code, reason = code or "cancelled", reason or "the evacuation was stopped before its turn"
        else:
            failed = ", ".join(sorted(self._strikes.closed))
            code, reason = code or "destination", reason or f"no destination takes it: {failed} failed too often"
        await self._leave(entry.after(Trigger.GIVE_UP, code=code, reason=reason, ended=_milliseconds()), "stays")

    async def _leave(self, entry: Entry, what: str, hook: Hook = Hook.FAILED, strikes: Strikes | None = None) -> None:
        """Nothing more is done with a VM. Its hook comes before the note: a later engine that finds no note calls it (again)."""
        await self._hooked(hook, entry)
        self._note(entry, what, strikes)

    async def _start(self, entry: Entry, to: str) -> None:
        entry = evolve(entry, to=to)
        if not await self._hooked(Hook.BEFORE, entry):
            return
        begun = entry.after(Trigger.START, attempt=entry.attempt + 1, began=entry.began or _milliseconds())
        self._note(begun, f"is migrated to {to}, attempt {begun.attempt}")
        part = self._shares_with(entry.vm)
        hold = [] if self.terms.libvirt else ["--hold"]
        self._begin(begun, *hold, bandwidth=part)

    def _shares_with(self, vm: str) -> int:
        phases = {name: each.phase for name, each in self._crew.progress.items()}
        return shares(self.terms.bandwidth, {**phases, vm: Phase.MIRROR}).get(vm, 0)

    def _settle(self, entry: Entry) -> None:
        begun = entry.after(Trigger.SETTLE, attempt=entry.attempt + 1)
        self._note(begun, "its outcome is asked for")
        self._begin(begun, "--recover")

    def _begin(self, entry: Entry, *words: str, bandwidth: int = 0) -> None:
        try:
            self._crew.start(entry, *words, bandwidth=bandwidth)
        except OSError as error:  # no process, no memory: as one that was killed at once
            self._say(f"{entry.vm}: nbdtun cannot be started: {error.strerror}")
            self._crew.adopt(entry)

    async def _release(self, entry: Entry) -> None:
        if not await self._hooked(Hook.SWITCHOVER, entry):
            await self._crew.cancel(entry.vm)
            return
        self._note(entry.after(Trigger.RELEASE), "switches over")
        await self._let_go(entry.vm)

    async def _let_go(self, vm: str) -> None:
        if await self._crew.release(vm):
            self._heard.add(vm)

    async def _ended(self, vm: str, child: Child) -> None:
        """A process has ended: what became of its VM?"""
        self._heard.discard(vm)
        entry, last, said = self._entries[vm], child.last(), child.said()
        settling = entry.state is State.SETTLING
        outcome = of_settlement(entry, last, said) if settling else of_migration(last, said)
        if outcome.fate is Fate.GONE:
            outcome = await self._whereabouts.find(entry, outcome)
        await self._conclude(entry, outcome, settling)
        if outcome.fate is Fate.ARRIVED:
            child.forget()

    async def _conclude(self, entry: Entry, outcome: Outcome, settling: bool) -> None:
        now = _milliseconds()
        if outcome.fate is Fate.ARRIVED:
            self._strikes = self._strikes.arrived(entry.to)
            resumes = entry.resumes + outcome.resumes
            arrived = entry.after(Trigger.ARRIVE, ended=now, downtime=outcome.downtime, resumes=resumes, code="", reason="")
            await self._leave(arrived, f"runs at {entry.to}", Hook.AFTER, self._strikes)
            return
        entry = evolve(entry, code=outcome.code, reason=outcome.reason, resumes=entry.resumes + outcome.resumes)
        if outcome.fate is Fate.LOST:
            await self._leave(entry.after(Trigger.LOSE, ended=now), outcome.reason)
        elif outcome.fate is Fate.HERE:
            await self._failed(entry)
        elif settling and entry.failures >= self.terms.retries:
            self._note(entry.after(Trigger.DOUBT, ended=now), outcome.reason)
        else:
            failures = entry.failures + settling
            later = now + pause(self.terms.pause, failures) if settling else now
            self._note(entry.after(Trigger.VANISH, failures=failures, not_before=later), outcome.reason)

    async def _failed(self, entry: Entry) -> None:
        """It runs here: it is tried again, or stays."""
        now = _milliseconds()
        if entry.code == "cancelled" and not self._is_open and not self._cancelling:  # at the window's end, by us
            hours = self.terms.hours
            opens = now if hours is None else int(hours.opens(datetime.now()).timestamp() * 1000)
            self._note(entry.after(Trigger.FAIL, not_before=opens), "waits for the window")
            return
        if entry.code in FULL:
            self._full[entry.to] = now + self.terms.pause
        if is_the_destinations(entry.code):
            self._strikes = self._strikes.failed(entry.to, entry.vm)
        retries = 0 if self.stopping else self.terms.retries
        after = after_failure(entry, now, retries=retries, first=self.terms.pause, closed=self._strikes.closed)
        what = f"{after.state.value} after a failure: {entry.reason} [{entry.code}]"
        if after.state is State.STAYED:
            await self._leave(after, what, strikes=self._strikes)
        else:
            self._note(after, what, self._strikes)

    async def _hooked(self, hook: Hook, entry: Entry) -> bool:
        """Call a hook; returns whether it went well. One that fails beforehand is a failure of the attempt."""
        told = {"VM": entry.vm, "TO": entry.to or entry.move.to, "PLACE": entry.move.place, "CODE": entry.code, "REASON": entry.reason}
        try:
            await self._hooks.call(hook, {f"NBDTUN_{name}": value for name, value in told.items()})
        except NbdtunError as error:
            self._say(f"{entry.vm}: {error}")
            if hook is Hook.BEFORE:
                await self._failed(evolve(entry, code=error.code, reason=str(error)))
            return False
        return True

    def _note(self, entry: Entry, what: str, strikes: Strikes | None = None) -> None:
        """Into the journal first; where that fails, nothing is done."""
        self._journal.note(entry, what, strikes)
        self._entries[entry.vm] = entry
        self.log.info("{vm}: {what}", vm=entry.vm, what=what)

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


def _milliseconds() -> int:
    return int(time() * 1000)
