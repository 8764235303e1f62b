"""
The state of an evacuation: its terms, its VMs, and the destinations that have failed.

Each change is in the journal first. Nothing else is kept in memory that a VM's safety depends on.
"""

from __future__ import annotations

from datetime import datetime
from time import monotonic, time
from typing import Any, Final

from attrs import evolve

from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.retries import LONGEST
from nbdtun.evacuation.terms import AtEnd, Terms
from nbdtun.evacuation.values import Entry
from nbdtun.logs import make_logger

_BEGAN: Final = time() - monotonic()


class Book:
    """
    The evacuation in ``journal``. ``stopping``: no more VMs are begun; ``cancelling``: those under way are rolled back. ``strikes`` are the
    destinations' failures in a row, which the next note takes along.
    """

    log = make_logger()

    def __init__(self, journal: Journal, terms: Terms) -> None:
        self.terms = terms
        self.stopping = False
        self.cancelling = False
        self.strikes = self._kept = journal.strikes()
        self._journal = journal
        latest = steady() + LONGEST  # the clock may have been set back since the process before
        self._entries = {each.vm: evolve(each, not_before=min(each.not_before, latest)) for each in journal.entries()}
        self._full: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Book of {len(self._entries)} VMs>"

    def __getitem__(self, vm: str) -> Entry:
        return self._entries[vm]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Those of all VMs."""
        return tuple(self._entries.values())

    @property
    def over(self) -> bool:
        """Whether nothing more is done with any of them."""
        return all(entry.state.over for entry in self._entries.values())

    def note(self, entry: Entry, what: str) -> None:
        """
        Note what has become of a VM, in words; and the failures in a row, if they are others now.

        :raise JournalFailed: it cannot be written, and nothing has changed.
        """
        self._journal.note(entry, what, None if self.strikes is self._kept else self.strikes)
        self._entries[entry.vm], self._kept = entry, self.strikes
        self.log.info("{vm}: {what}", vm=entry.vm, what=what)

    def change(self, **changes: Any) -> None:
        """
        Change the terms, also for a later process that goes on with them.

        :raise JournalFailed: it cannot be written, and nothing has changed.
        """
        terms = evolve(self.terms, **changes)
        self._journal.amend(terms)
        self.terms = terms

    def fill(self, to: str, until: int) -> None:
        """A destination receives as many VMs as it may; it is asked again at that time, by :func:`steady`."""
        self._full[to] = until

    @property
    def full(self) -> frozenset[str]:
        """The destinations that receive as many VMs as they may."""
        return frozenset(host for host, until in self._full.items() if until > steady())

    @property
    def is_open(self) -> bool:
        """Whether guests may switch over now."""
        return self.terms.hours is None or self.terms.hours.is_open(datetime.now())

    @property
    def rolls_back(self) -> bool:
        """Whether what is not ready is rolled back now, and waits for the window; libvirt's VMs cannot be held."""
        return not self.is_open and (self.terms.at_end is AtEnd.ROLL_BACK or bool(self.terms.libvirt))

    @property
    def opens(self) -> int:
        """When they next may, by :func:`steady`."""
        hours, now = self.terms.hours, datetime.now()
        return steady() if hours is None else steady() + round((hours.opens(now) - now).total_seconds() * 1000)


def milliseconds() -> int:
    """The time, since the epoch: what an operator is told."""
    return int(time() * 1000)


def steady() -> int:
    """
    The time that pauses are counted by: milliseconds since the epoch, as the host's clock had it when this process began. A clock that is
    set meanwhile lengthens no pause.
    """
    return int((_BEGAN + monotonic()) * 1000)
