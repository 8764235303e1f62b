"""The life of a monitor: its states, and the transitions between them."""

from __future__ import annotations

import enum
from typing import Final

from nbdtun.states import Transitions


class State(enum.Enum):
    """The states of a monitor. A LOST one was not closed by us, and can be renewed."""

    NEW = "new"
    CONNECTED = "connected"
    LOST = "lost"
    RENEWING = "renewing"
    CLOSED = "closed"


class Trigger(enum.Enum):
    """What can happen to a monitor."""

    CONNECT = "connect"
    FAIL = "fail"  # to connect
    LOSE = "lose"
    RENEW = "renew"
    CLOSE = "close"


TRANSITIONS: Final = Transitions(
    State.NEW,
    {
        State.NEW: {Trigger.CONNECT: State.CONNECTED, Trigger.FAIL: State.CLOSED},
        State.CONNECTED: {Trigger.LOSE: State.LOST, Trigger.CLOSE: State.CLOSED},
        State.LOST: {Trigger.RENEW: State.RENEWING},
        State.RENEWING: {Trigger.CONNECT: State.CONNECTED, Trigger.FAIL: State.LOST},
        State.CLOSED: {Trigger.LOSE: State.CLOSED},
    },
    impossible={Trigger.CONNECT, Trigger.FAIL, Trigger.LOSE},
    ignored={Trigger.RENEW, Trigger.CLOSE},
)
