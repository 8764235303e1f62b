"""The states of a VM in an evacuation."""

from __future__ import annotations

import enum
from typing import Final

from nbdtun.states import Transitions


class State(enum.Enum):
    """Where a VM is, and what is done with it."""

    WAITING = "waiting"
    COPYING = "copying"
    HELD = "held"
    SWITCHING = "switching over"
    UNSETTLED = "unsettled"
    SETTLING = "settling"
    MOVED = "moved"
    STAYED = "stayed"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def over(self) -> bool:
        """Whether nothing more is done with it by this evacuation; one that is unknown is asked about again by the next."""
        return self in (State.MOVED, State.STAYED, State.LOST, State.UNKNOWN)

    @property
    def under_way(self) -> bool:
        """Whether a process migrates it, or finds out what became of it."""
        return self in (State.COPYING, State.HELD, State.SWITCHING, State.SETTLING)


class Trigger(enum.Enum):
    """The events of that life."""

    START = "start"
    HOLD = "ready"
    RELEASE = "switch over"
    ARRIVE = "arrived"
    FAIL = "failed"
    GIVE_UP = "give up"
    LOSE = "lost"
    VANISH = "no answer"
    SETTLE = "ask"
    DOUBT = "cannot be asked"
    RESUME = "resume"


_ENDED: Final = {
    Trigger.ARRIVE: State.MOVED,
    Trigger.FAIL: State.WAITING,
    Trigger.GIVE_UP: State.STAYED,
    Trigger.LOSE: State.LOST,
    Trigger.VANISH: State.UNSETTLED,
}

TRANSITIONS: Final = Transitions(
    State.WAITING,
    {
        State.WAITING: {Trigger.START: State.COPYING, Trigger.GIVE_UP: State.STAYED, Trigger.FAIL: State.WAITING},
        State.COPYING: {Trigger.HOLD: State.HELD, **_ENDED},
        State.HELD: {Trigger.RELEASE: State.SWITCHING, **_ENDED},
        State.SWITCHING: _ENDED,
        State.UNSETTLED: {Trigger.SETTLE: State.SETTLING},
        State.SETTLING: {**_ENDED, Trigger.DOUBT: State.UNKNOWN},
        State.MOVED: {},
        State.STAYED: {},
        State.LOST: {},
        State.UNKNOWN: {Trigger.RESUME: State.UNSETTLED},
    },
    impossible=frozenset(Trigger),
)
