"""The door of a receiver; what comes through it is in test_receive."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from nbdtun.errors import ConfigError
from nbdtun.reach.relay import door_path
from nbdtun.service import receive
from nbdtun.service.door import serve_at_door
from nbdtun.service.local.outcomes import Outcomes
from nbdtun.service.receive import Receiver


def receiver(base: Path) -> Receiver:
    return Receiver(reactor, "web1", base, Outcomes(base / "state"))


@pytest_twisted.ensureDeferred
async def test_a_second_receiver_of_the_same_name_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one ends soon after its only near end has left without a word, and takes its door along."""
    monkeypatch.setattr(receive, "LOOK", 0.02)
    monkeypatch.setattr(receive, "FIRST_WINDOW", 0.05)
    ours, theirs = socket.socketpair()
    open_door: Deferred[None] = Deferred()
    over = Deferred.fromCoroutine(serve_at_door(receiver(base), theirs, lambda: open_door.callback(None)))
    await open_door
    with pytest.raises(ConfigError, match="another process is already listening there"):
        await serve_at_door(receiver(base), theirs)
    assert door_path(base, "web1").exists()
    ours.close()
    await over
    assert not door_path(base, "web1").parent.exists()
