"""
Which step is due for which VM. No I/O, and no clock: the time is an argument.

So many VMs copy at a time, and one switches over. Of those that wait, the operator's order decides, and then the size: the smallest first,
so that no large disk keeps a small VM waiting. One that is ready and held takes no place among those that copy.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from typing import Final

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
    """What is to be done with ``vm``."""

    vm: str
    what: What


@frozen
class Now:
    """
    The present: the time (milliseconds since the epoch), how many may copy, whether guests may switch over (``open``), and whether no more
    VMs are begun (``stopping``), or those that copy are rolled back. The ``late`` were ready before the window closed.
    ``closed`` are the destinations that get no more. ``living`` are the VMs that have a process, and
    ``watched`` those whose guest runs at the destination already.
    The ``full`` destinations receive as many VMs as they may.
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


_NOT_READY: Final = (State.WAITING, State.COPYING)


def due(entries: Iterable[Entry], now: Now) -> list[Step]:
    """The steps that are due now."""
    every = sorted(entries, key=lambda entry: (*now.rules.rank(entry.vm), entry.move.size, entry.vm))
    return [*_settle(every, now), *_stay(every, now), *_roll_back(every, now), *_release(every, now), *_start(every, now)]


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
    """At the end of the window, those that copy, if the operator wants it so."""
    return [Step(each.vm, What.ROLL_BACK) for each in every if now.roll_back and each.state is State.COPYING and each.vm in now.living]


def _release(every: list[Entry], now: Now) -> list[Step]:
    if any(each.state is State.SWITCHING and each.vm not in now.watched for each in every):
        return []
    return [Step(each.vm, What.RELEASE) for each in every if each.state is State.HELD and (now.open or each.vm in now.late)][:1]


def _start(every: list[Entry], now: Now) -> list[Step]:
    if now.stopping or now.roll_back:
        return []
    places = now.copying - sum(each.state is State.COPYING for each in every)
    steps: list[Step] = []
    for each in every:
        host = destination(each, now)
        if len(steps) >= places:
            break
        if each.state is State.WAITING and not each.move.refused and each.not_before <= now.time and host and host not in now.full:
            steps.append(Step(each.vm, What.START))
    return steps


def destination(entry: Entry, now: Now) -> str:
    """Where a VM goes next; empty if no destination takes more."""
    hosts = _hosts(entry, now)
    wanted = entry.to or entry.move.to
    return wanted if wanted in hosts else hosts[0] if hosts else ""


def _hosts(entry: Entry, now: Now) -> list[str]:
    return [host for host in entry.move.fits if host not in now.closed]
