"""The life of a channel: its states, and the transitions between them."""

from __future__ import annotations

import enum
from typing import Final

from nbdtun.states import Transitions


class State(enum.Enum):
    """The state of a channel; OVER is final."""

    FRESH = "fresh"
    LINKED = "linked"
    SEVERED = "severed"
    OVER = "over"


class Trigger(enum.Enum):
    """What can happen to a channel."""

    ATTACH = "attach"  # it has a new link
    SEVER = "sever"  # its link is gone
    END = "end"  # it is complete or has failed


TRANSITIONS: Final = Transitions(
    State.FRESH,
    {
        State.FRESH: {Trigger.ATTACH: State.LINKED, Trigger.SEVER: State.SEVERED, Trigger.END: State.OVER},
        State.LINKED: {Trigger.SEVER: State.SEVERED, Trigger.END: State.OVER},
        State.SEVERED: {Trigger.ATTACH: State.LINKED, Trigger.END: State.OVER},
        State.OVER: {Trigger.ATTACH: State.OVER},  # the link gets a RESET
    },
    impossible={Trigger.ATTACH},
    ignored={Trigger.SEVER, Trigger.END},
)
