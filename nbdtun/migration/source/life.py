"""The life of a migration: its states, and the transitions between them."""

from __future__ import annotations

import enum
from typing import Final

from nbdtun.states import Transitions


class State(enum.Enum):
    """The direction of a migration; it can be cancelled only while it goes FORWARD."""

    NEW = "new"
    FORWARD = "forward"
    HANDING_OVER = "handing over"
    BACK = "back"
    ENDED = "ended"


class Trigger(enum.Enum):
    """What can happen to a migration."""

    START = "start"
    INTERRUPT = "interrupt"  # it is cancelled, or the alarm rings
    HAND_OVER = "hand over"
    FAIL = "fail"
    END = "end"


TRANSITIONS: Final = Transitions(
    State.NEW,
    {
        State.NEW: {Trigger.START: State.FORWARD},
        State.FORWARD: {
            Trigger.INTERRUPT: State.BACK,
            Trigger.HAND_OVER: State.HANDING_OVER,
            Trigger.FAIL: State.BACK,
            Trigger.END: State.ENDED,  # its journal says that it has arrived, or the outcome is unknown
        },
        State.HANDING_OVER: {Trigger.FAIL: State.BACK, Trigger.END: State.ENDED},
        State.BACK: {Trigger.HAND_OVER: State.BACK, Trigger.FAIL: State.BACK, Trigger.END: State.ENDED},
        State.ENDED: {},
    },
    impossible={Trigger.START, Trigger.HAND_OVER, Trigger.FAIL, Trigger.END},
    ignored={Trigger.INTERRUPT},
)
