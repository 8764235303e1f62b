"""The life of a session: its states, and the transitions between them."""

from __future__ import annotations

import enum
from typing import Final

from nbdtun.states import Transitions


class State(enum.Enum):
    """The states of a session; Query and Abort answer with their values."""

    NEW = "new"
    PREPARING = "preparing"
    PREPARED = "prepared"
    LISTENING = "listening"
    FINISHING = "finishing"
    FINISHED = "finished"
    ABORTING = "aborting"
    ABORTED = "aborted"
    UNCERTAIN = "uncertain"

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return self in TRANSITIONS.ends


class Trigger(enum.Enum):
    """What can happen to a session: its source's commands, and their results."""

    PREPARE = "prepare"
    PREPARED = "prepared"
    LISTEN = "listen"
    FINISH = "finish"
    FINISHED = "finished"
    ABORT = "abort"
    FAIL = "fail"  # a step failed
    LOSE = "lose"  # cont was sent, and not answered
    UNDONE = "undone"


TRANSITIONS: Final = Transitions(
    State.NEW,
    {
        State.NEW: {Trigger.PREPARE: State.PREPARING, Trigger.ABORT: State.ABORTED},
        State.PREPARING: {Trigger.PREPARED: State.PREPARED, Trigger.ABORT: State.ABORTING, Trigger.FAIL: State.ABORTING},
        State.PREPARED: {Trigger.LISTEN: State.LISTENING, Trigger.ABORT: State.ABORTING},
        State.LISTENING: {Trigger.FINISH: State.FINISHING, Trigger.ABORT: State.ABORTING, Trigger.FAIL: State.ABORTING},
        State.FINISHING: {Trigger.FINISHED: State.FINISHED, Trigger.FAIL: State.ABORTING, Trigger.LOSE: State.UNCERTAIN},
        State.FINISHED: {},
        State.ABORTING: {Trigger.UNDONE: State.ABORTED},
        State.ABORTED: {},
        State.UNCERTAIN: {},
    },
    impossible={Trigger.FINISHED, Trigger.FAIL, Trigger.LOSE, Trigger.UNDONE},
    ignored={Trigger.ABORT},
    refused={Trigger.PREPARE, Trigger.PREPARED, Trigger.LISTEN, Trigger.FINISH},
)
