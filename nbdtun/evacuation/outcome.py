"""What the end of a migration's process means for its VM: by its last report, or that there is none. No I/O."""

from __future__ import annotations

import enum

from attrs import frozen

from nbdtun.errors import MigrationError
from nbdtun.evacuation.values import Entry
from nbdtun.migration.progress import Phase, Progress

#: The codes of a source that is not there any more, when an outcome is asked for.
_GONE = ("monitor", "monitor-lost", "libvirt")


class Fate(enum.Enum):
    """Where the VM is, as far as that is known."""

    ARRIVED = "arrived"
    HERE = "here"
    LOST = "lost"
    UNKNOWN = "unknown"
    GONE = "not here, and perhaps there"


@frozen
class Outcome:
    """The ``fate`` of a VM, with the ``code`` and the ``reason`` of a failure. ``downtime`` is in milliseconds, -1 for none."""

    fate: Fate
    code: str = ""
    reason: str = ""
    downtime: int = -1
    resumes: int = 0


_FATES = {Phase.COMPLETED: Fate.ARRIVED, Phase.CANCELLED: Fate.HERE, Phase.FAILED: Fate.HERE, Phase.LOST: Fate.LOST}


def of_migration(last: Progress | None, said: str) -> Outcome:
    """The outcome of ``nbdtun migrate``, which ended with the report ``last``, and ``said`` something before."""
    if last is None or not last.phase.final:
        return Outcome(Fate.UNKNOWN, "killed", said or "its nbdtun has ended without a word")
    fate = _FATES.get(last.phase, Fate.UNKNOWN)
    code = "cancelled" if last.phase is Phase.CANCELLED else last.code or ""
    downtime = -1 if last.downtime_ms is None else round(last.downtime_ms)
    return Outcome(fate, code, last.error or "", downtime, last.link.resumes)


def of_settlement(entry: Entry, last: Progress | None, said: str) -> Outcome:
    """
    The outcome of ``nbdtun migrate --recover`` for the VM of ``entry``, whose failure is the one that an operator is told.

    The code ``migration`` is the answer that the VM is here. A source that cannot be asked, or that libvirt does not have or run any more,
    may have been ended after the VM's arrival. All else is no answer: the question was refused, as the VM is another's business by now, or
    it was cancelled before it was asked.
    """
    told = of_migration(last, said)
    if told.fate is not Fate.HERE:
        return told
    if told.code in _GONE:
        return Outcome(Fate.GONE, told.code, told.reason)
    if told.code == MigrationError.code:
        return Outcome(Fate.HERE, entry.code or told.code, entry.reason or told.reason)
    return Outcome(Fate.UNKNOWN, told.code, told.reason)
