"""
Which step is due for which VM. No I/O, and no clock: the time is an argument.

So many VMs copy at a time, and one switches over. Of those that wait, the operator's order decides, and then the size: the smallest first,
so that no large disk keeps a small VM waiting. One that is ready and held takes no place among those that copy.

Nobody waits for a VM whose link stays lost: it has neither a place nor the turn. A destination that is away gets no VM until it is back.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable

from attrs import field, frozen

from nbdtun.evacuation.life import State
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.values import Entry


class What(enum.Enum):
    """The steps."""

    START = "start"
    RELEASE = "release"
    SETTLE = "settle"
    STAY = "stay"
    ROLL_BACK = "roll back"


@frozen
class Step:
    """What is to be done with ``vm``; ``to`` is the destination of one that is begun."""

    vm: str
    what: What
    to: str = ""


@frozen
class Now:
    """
    The present: the time (milliseconds since the epoch), how many may copy, whether guests may switch over (``open``), and whether no more
    VMs are begun (``stopping``), or those that are not ready are rolled back. The ``late`` were ready before the window closed.
    ``closed`` are the destinations that get no more. ``living`` are the VMs that have a process, and ``watched`` those of them whose
    migration is decided: the guest runs at the destination already, or here again.
    The ``full`` destinations receive as many VMs as they may. A step is being taken for the ``busy`` VMs.

    The ``refused`` are held, and their hook refuses the switchover. The ``lost`` are VMs whose link is lost at present, and the ``stuck``
    those of them that have been without one for some time. The destinations that these go to, and that no other VM reaches either, are
    ``away``.
    """

    time: int
    copying: int
    rules: Rules = field(factory=Rules)
    open: bool = True
    stopping: bool = False
    roll_back: bool = False
    late: Collection[str] = ()
    closed: Collection[str] = ()
    living: Collection[str] = ()
    watched: Collection[str] = ()
    full: Collection[str] = ()
    busy: Collection[str] = ()
    refused: Collection[str] = ()
    lost: Collection[str] = ()
    stuck: Collection[str] = ()
    away: Collection[str] = ()


def due(entries: Iterable[Entry], now: Now) -> list[Step]:
    """The steps that are due now."""
    every = sorted(entries, key=lambda entry: (*now.rules.rank(entry.vm), entry.move.size, entry.vm))
    free = [entry for entry in every if entry.vm not in now.busy]
    release = [] if any(_has_turn(entry, now) for entry in every) else _release(free, now)
    places = now.copying - sum(_has_place(entry, now) for entry in every)
    return [*_settle(free, now), *_stay(free, now), *_roll_back(free, now), *release, *_start(free, now, places)]


def _settle(every: list[Entry], now: Now) -> list[Step]:
    """Unknown outcomes come first, and are nobody's to hold up."""
    return [
        Step(each.vm, What.SETTLE)
        for each in every
        if each.state is State.UNSETTLED and each.vm not in now.living and each.not_before <= now.time
    ]


def _stay(every: list[Entry], now: Now) -> list[Step]:
    waiting = [each for each in every if each.state is State.WAITING]
    return [Step(each.vm, What.STAY) for each in waiting if now.stopping or each.move.refused or not _hosts(each, now)]


def _roll_back(every: list[Entry], now: Now) -> list[Step]:
    """At the end of the window, those that were not ready, if the operator wants it so."""
    if not now.roll_back:
        return []
    unready = [each for each in every if each.state is State.COPYING or (each.state is State.HELD and each.vm not in now.late)]
    return [Step(each.vm, What.ROLL_BACK) for each in unready if each.vm in now.living]


def _is_ignored(entry: Entry, now: Now) -> bool:
    """Whether nobody waits for it: it has no link, its migration is decided, or its process has ended, and that is being worked on."""
    return entry.vm in now.stuck or entry.vm in now.watched or (entry.vm in now.busy and entry.vm not in now.living)


def _has_turn(entry: Entry, now: Now) -> bool:
    """Whether it switches over, or is about to, so that no other may."""
    begins = entry.state is State.HELD and entry.vm in now.busy
    return (entry.state is State.SWITCHING or begins) and not _is_ignored(entry, now)


def _release(every: list[Entry], now: Now) -> list[Step]:
    able = [each for each in every if each.state is State.HELD and each.vm not in now.lost and each.vm not in now.refused]
    ready = [each for each in able if now.open or each.vm in now.late]
    return [Step(each.vm, What.RELEASE) for each in ready[:1]]


def _has_place(entry: Entry, now: Now) -> bool:
    """Whether it copies, or is about to."""
    begins = entry.state is State.WAITING and entry.vm in now.busy and not entry.move.refused
    return begins or (entry.state is State.COPYING and not _is_ignored(entry, now))


def _start(every: list[Entry], now: Now, places: int) -> list[Step]:
    if now.stopping or now.roll_back:
        return []
    steps: list[Step] = []
    for each in every:
        if len(steps) >= places:
            break
        to = destination(each, now)
        if each.state is State.WAITING and not each.move.refused and each.not_before <= now.time and to and to not in now.full:
            steps.append(Step(each.vm, What.START, to))
    return steps


def destination(entry: Entry, now: Now) -> str:
    """Where a VM goes next; empty if no destination takes it at present."""
    hosts = [host for host in _hosts(entry, now) if host not in now.away]
    wanted = entry.to or entry.move.to
    return wanted if wanted in hosts else hosts[0] if hosts else ""


def _hosts(entry: Entry, now: Now) -> list[str]:
    return [host for host in entry.move.fits if host not in now.closed]
