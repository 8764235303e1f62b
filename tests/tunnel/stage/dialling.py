"""A channel that is being opened, and what comes of it."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.tunnel.stage.sockets import pair
from tests.tunnel.stage.stage import Stage


def opening(stage: Stage) -> tuple[Deferred[Any], list[Any], socket.socket]:
    """Open a channel; return what can be cancelled, what comes of it, and the local program's socket."""
    ours, theirs = pair()
    outcome: list[Any] = []
    dialling = Deferred.fromCoroutine(stage.source.open("disk", theirs))
    dialling.addBoth(outcome.append)
    return dialling, outcome, ours


def failure(outcome: list[Any]) -> BaseException:
    """The one outcome, which is a failure."""
    assert len(outcome) == 1
    assert isinstance(outcome[0], Failure)
    assert outcome[0].value is not None
    return outcome[0].value
