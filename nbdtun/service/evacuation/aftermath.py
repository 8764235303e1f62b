"""
The end of a VM's process: the VM has arrived, is tried again, or stays; or both ends are asked first.

A hook of the end is called before the note of it. So a later engine that finds no note calls the hook (again).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from nbdtun.errors import NbdtunError
from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.outcome import Fate, Outcome, of_migration, of_settlement
from nbdtun.evacuation.retries import FULL, after_failure, is_the_destinations, pause
from nbdtun.evacuation.values import Entry
from nbdtun.service.evacuation.book import Book, milliseconds, steady
from nbdtun.service.evacuation.child import Child
from nbdtun.service.evacuation.hooks import Hook, Hooks
from nbdtun.service.evacuation.whereabouts import Whereabouts

Say = Callable[[str], None]


class Aftermath:
    """Writes into ``book`` what became of VMs. ``say`` is called with a line about a hook that has failed."""

    def __init__(self, book: Book, hooks: Hooks, whereabouts: Whereabouts, say: Say) -> None:
        self._book = book
        self._hooks = hooks
        self._whereabouts = whereabouts
        self._say = say

    def __repr__(self) -> str:
        return f"<Aftermath in {self._book!r}>"

    async def of(self, entry: Entry, child: Child, refused: NbdtunError | None = None) -> None:
        """The process of a VM has ended: what became of the VM? It was rolled back if a hook had ``refused`` its switchover."""
        last, said = child.last(), child.said()
        settling = entry.state is State.SETTLING
        outcome = of_settlement(entry, last, said) if settling else of_migration(last, said)
        if refused is not None and outcome.code == "cancelled":
            outcome = evolve(outcome, code=refused.code, reason=str(refused))
        if outcome.fate is Fate.GONE:
            outcome = await self._whereabouts.find(entry, outcome)
        await self._conclude(entry, outcome, settling)
        if outcome.fate is Fate.ARRIVED:
            child.forget()

    async def _conclude(self, entry: Entry, outcome: Outcome, settling: bool) -> None:
        now, terms = milliseconds(), self._book.terms
        entry = evolve(entry, resumes=entry.resumes + outcome.resumes)
        if outcome.fate is Fate.ARRIVED:
            self._book.strikes = self._book.strikes.arrived(entry.to)
            arrived = entry.after(Trigger.ARRIVE, ended=now, downtime=outcome.downtime, code="", reason="")
            await self._leave(arrived, f"runs at {entry.to}", Hook.AFTER)
            return
        entry = evolve(entry, code=outcome.code, reason=outcome.reason)
        if outcome.fate is Fate.LOST:
            await self._leave(entry.after(Trigger.LOSE, ended=now), outcome.reason)
        elif outcome.fate is Fate.HERE:
            await self.failed(entry)
        elif settling and entry.failures >= terms.retries:
            self._book.note(entry.after(Trigger.DOUBT, ended=now), outcome.reason)
        else:
            failures = entry.failures + settling
            later = steady() + pause(terms.pause, failures) if settling else 0
            self._book.note(entry.after(Trigger.VANISH, failures=failures, not_before=later), outcome.reason)

    async def failed(self, entry: Entry) -> None:
        """It runs here, and ``entry`` has the reason: it is tried again, or stays."""
        now, book = steady(), self._book
        if entry.code == "cancelled" and book.rolls_back and not book.cancelling:  # at the window's end, by us
            book.note(entry.after(Trigger.FAIL, not_before=book.opens), "waits for the window")
            return
        if entry.code in FULL:
            book.fill(entry.to, now + book.terms.pause)
        if is_the_destinations(entry.code):
            book.strikes = book.strikes.failed(entry.to, entry.vm)
        retries = 0 if book.stopping else book.terms.retries
        after = after_failure(entry, now, retries=retries, first=book.terms.pause, closed=book.strikes.closed)
        what = f"{after.state.value} after a failure: {entry.reason} [{entry.code}]"
        if after.state is State.STAYED:
            await self._leave(evolve(after, ended=milliseconds()), what)
        else:
            book.note(after, what)

    async def stay(self, entry: Entry) -> None:
        """It is not begun (again), and stays."""
        move, code, reason = entry.move, entry.code, entry.reason
        if move.refused:
            code, reason = move.code, move.refused
        elif self._book.stopping:
            code, reason = code or "cancelled", reason or "the evacuation was stopped before its turn"
        else:
            failed = ", ".join(sorted(self._book.strikes.closed))
            code, reason = code or "destination", reason or f"no destination takes it: {failed} failed too often"
        await self._leave(entry.after(Trigger.GIVE_UP, code=code, reason=reason, ended=milliseconds()), "stays")

    async def _leave(self, entry: Entry, what: str, hook: Hook = Hook.FAILED) -> None:
        """Nothing more is done with it."""
        await self.hooked(hook, entry)
        self._book.note(entry, what)

    async def hooked(self, hook: Hook, entry: Entry) -> NbdtunError | None:
        """Call a hook; returns why it failed, None if it did not."""
        told = {"VM": entry.vm, "TO": entry.to or entry.move.to, "PLACE": entry.move.place, "CODE": entry.code, "REASON": entry.reason}
        try:
            await self._hooks.call(hook, {f"NBDTUN_{name}": value for name, value in told.items()})
        except NbdtunError as error:
            self._say(f"{entry.vm}: {error}")
            return error
        return None
