"""A worker's answers that a main process gets only where two links of one channel come at a time, or one comes too late."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor

from nbdtun import __version__
from nbdtun.config import TunnelSettings
from nbdtun.config.settings import Dialling
from nbdtun.errors import ConfigError, LinkLost, ResumeRefused
from nbdtun.service.workers import keeper as keeper_module
from nbdtun.service.workers.keeper import Keeper
from nbdtun.tunnel.protocol.growth import SPARE
from nbdtun.tunnel.runtime.bucket import SharedBucket
from tests.service.stage import done

IDENT = b"i" * 16


@pytest.fixture
def keeper() -> Any:
    made = Keeper(reactor)
    bucket = SharedBucket.make(0.0).descriptor
    assert done(made.begin(__version__, pickle.dumps(TunnelSettings(run_dir="/run/x")), SPARE, bucket)) == {}
    yield made
    for channel in tuple(made._channels.values()):
        channel.leave("the test is over")


def make(keeper: Keeper) -> socket.socket:
    ours, theirs = socket.socketpair()
    keeper.make(IDENT, theirs.detach(), "disk", 1 << 18, False)
    return ours


def test_the_newest_link_counts(keeper: Keeper) -> None:
    """Two connections ask for one channel; the link of the first answer comes after the second answer."""
    with make(keeper):
        turns = [done(keeper.resume(IDENT, 0))["turn"] for _ in range(2)]
        pairs = [socket.socketpair() for _ in turns]
        assert isinstance(done(keeper.attach(IDENT, turns[0], pairs[0][1].detach())), LinkLost)
        assert pairs[0][0].recv(1) == b""
        assert done(keeper.attach(IDENT, turns[1], pairs[1][1].detach())) == {}
        assert keeper._channels[IDENT].figures.linked
        for ours, _ in pairs:
            ours.close()


def test_what_is_not_there_is_refused(keeper: Keeper) -> None:
    assert isinstance(done(keeper.resume(IDENT, 0)), ResumeRefused)
    ours, theirs = socket.socketpair()
    assert isinstance(done(keeper.attach(IDENT, 1, theirs.detach())), LinkLost)
    assert ours.recv(1) == b""
    ours.close()
    assert keeper.act(IDENT, "reset", "reset", "for nobody") == {}


def test_certificates_that_cannot_be_used_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next settings, also where these are the same: it goes on with those from before until then."""
    steps: list[tuple[bool, bool]] = []

    def retrust(_: object, before: TunnelSettings, now: TunnelSettings) -> None:
        steps.append((before.any_purpose, now.any_purpose))
        if len(steps) == 1:
            raise ConfigError("ca-cert.pem: Permission denied")

    monkeypatch.setattr(keeper_module, "retrust", retrust)
    first = Dialling(tunnel=TunnelSettings(run_dir="/run/x"), connect="unix:/run/x/none.sock")
    then = pickle.dumps(evolve(first, tunnel=evolve(first.tunnel, any_purpose=True)))
    made = Keeper(reactor)
    assert done(made.begin(__version__, pickle.dumps(first), SPARE, SharedBucket.make(0.0).descriptor)) == {}
    assert str(done(made.settle(then))) == "in a worker: ca-cert.pem: Permission denied"
    assert done(made.settle(then)) == {}
    assert steps == [(False, True), (False, True)]


def test_it_does_only_what_can_be_asked(keeper: Keeper) -> None:
    with make(keeper) as ours:
        keeper.act(IDENT, "pause", "reset", "no such act")
        assert IDENT in keeper._channels
        keeper.act(IDENT, "leave", "tunnel", "it is over")
        assert IDENT not in keeper._channels
        assert ours.recv(1) == b""
