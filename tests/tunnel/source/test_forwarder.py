"""What connects to a source's socket becomes a channel; and the channels of one socket are waited for, and ended, together."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.defer import CancelledError, Deferred

from nbdtun.errors import LinkLost, TargetUnreachable
from nbdtun.tunnel.source.forwarder import Forwarder
from tests.tunnel.stage.stage import Stage


def test_it_is_drained_when_all_that_was_sent_is_there(stage: Stage) -> None:
    """The other program's own end, and the channel's, would take a round trip each while a guest stands still."""
    near, _ = stage.meet()
    drained = Deferred.fromCoroutine(stage.forwarder.drained())
    stage.rest()
    assert not drained.called
    near.shut()
    stage.pass_time(1)
    assert drained.called
    assert not stage.forwarder.idle


def test_it_is_drained_in_vain_when_one_is_lost(stage: Stage) -> None:
    near, _ = stage.meet()
    outcome: list[object] = []
    Deferred.fromCoroutine(stage.forwarder.drained()).addBoth(outcome.append)
    stage.cable.cut()
    stage.cable.refuses = True
    near.shut()
    stage.pass_time(stage.source.runtime.terms.resume_window + 60)
    assert isinstance(getattr(outcome[0], "value", None), LinkLost)


def test_it_is_drained_in_vain_when_one_has_failed(stage: Stage) -> None:
    stage.target.refuse("target disk: nobody there")
    stage.arrive()
    outcome: list[object] = []
    Deferred.fromCoroutine(stage.forwarder.drained()).addBoth(outcome.append)
    stage.rest()
    assert str(getattr(outcome[0], "value", "")) == "target disk: nobody there"


@pytest.mark.parametrize("away", [False, True])
def test_the_wait_for_it_to_be_drained_can_be_given_up(stage: Stage, away: bool) -> None:
    """Also where nothing can come any more, as the network has just gone."""
    stage.meet()
    stage.cable.refuses = away
    if away:
        stage.cable.cut()
    outcome: list[object] = []
    waiting = Deferred.fromCoroutine(stage.forwarder.drained())
    waiting.addBoth(outcome.append)
    stage.rest()
    assert outcome == []
    waiting.cancel()
    assert isinstance(getattr(outcome[0], "value", None), CancelledError)
    assert stage.source.channels, "nobody else's business is ended by that"


def test_the_wait_for_one_that_is_being_opened_can_be_given_up(stage: Stage) -> None:
    stage.cable.refuses = True
    stage.arrive()
    outcome: list[object] = []
    waiting = Deferred.fromCoroutine(stage.forwarder.drained())
    waiting.addBoth(outcome.append)
    waiting.cancel()
    assert isinstance(getattr(outcome[0], "value", None), CancelledError)
    stage.pass_time(60)


def test_who_comes_first_is_there_first(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an urgent one: the second waits while the first is on its way, and goes on when that has failed."""
    ways: list[Deferred[None]] = []

    async def open_late(*_: object, **__: object) -> None:
        ways.append(Deferred())
        await ways[-1]

    monkeypatch.setattr(stage.source, "open", open_late)
    forwarder = Forwarder(stage.source, "ram", urgent=True)
    pairs = [socket.socketpair() for _ in range(3)]
    for _, theirs in pairs:
        forwarder.arrived(theirs)
    assert len(ways) == 1
    ways[0].errback(TargetUnreachable("gone"))
    assert len(ways) == 2
    forwarder.reset("it is over")  # who waits for his turn is let go
    for ours, theirs in pairs:
        ours.close()
        theirs.close()
    assert forwarder.idle


def test_a_reset_ends_what_came_in_there_only(stage: Stage) -> None:
    other = Forwarder(stage.source, "disk")
    near, _ = stage.meet()
    ours, theirs = socket.socketpair()
    other.arrived(theirs)
    stage.rest()
    stage.forwarder.reset("cancelled")
    stage.pass_time(20)
    assert near.got_end
    assert str(stage.forwarder.trouble) == "cancelled"
    assert len(stage.source.channels) == len(stage.destination.channels) == 1
    other.reset("cleared away")
    ours.close()
    stage.pass_time(20)
