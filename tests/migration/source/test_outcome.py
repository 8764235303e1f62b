"""The outcome of a migration, asked of the destination: its answer, or that nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.errors import GuestLost, LinkLost, NbdtunError, OutcomeUnknown
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.outcome import ask
from tests.migration.stage.left import Answer
from tests.migration.stage.talk import SESSION


class Way:
    """A Carrier that leads to one channel, or nowhere."""

    def __init__(self, channel: Answer | NbdtunError) -> None:
        self.channel = channel

    async def control(self, protocol: Any) -> Any:
        if isinstance(self.channel, NbdtunError):
            raise self.channel
        return self.channel


def asked(channel: Answer | NbdtunError, session: str | None = SESSION, downtime: float | None = None) -> tuple[Clock, list[Any]]:
    clock, carrier, got = channel.clock if isinstance(channel, Answer) else Clock(), Way(channel), list[Any]()
    way: Any = carrier
    Deferred.fromCoroutine(ask(clock, way, MigrationSettings(vm="web1"), session, downtime=downtime)).addBoth(got.append)
    return clock, got


@pytest.mark.parametrize(("downtime", "told"), [(0.0871, 87), (1e6, 86_400_000)])
def test_it_is_told_how_long_the_guest_stood_still(downtime: float, told: int) -> None:
    channel = Answer("arrived")
    asked(channel, downtime=downtime)
    assert channel.asked[0]["downtime"] == told


@pytest.mark.parametrize("session", [SESSION, None])
def test_the_destination_knows(session: str | None) -> None:
    channel = Answer("arrived")
    assert asked(channel, session)[1] == ["arrived"]
    assert channel.asked == [{"vm": "web1", "session": session, "secret": None, "downtime": None}]
    assert channel.hung_up


def test_a_guest_that_is_lost_there() -> None:
    got = asked(Answer("lost"))[1]
    assert isinstance(got[0], Failure)
    assert got[0].check(GuestLost)
    told = str(got[0].value)
    assert "web1 has run at the destination, and was lost there: the guest has crashed. The source stays paused" in told
    assert "quit QEMU at the destination, then `cont` the source" in told


def unknown(got: list[Any]) -> str:
    assert isinstance(got[0], Failure)
    assert got[0].check(OutcomeUnknown)
    return str(got[0].value)


def test_a_destination_that_cannot_be_reached() -> None:
    told = unknown(asked(LinkLost("no connection"))[1])
    assert "(no connection)" in told
    assert "The source stays paused" in told


def test_a_destination_that_has_an_error_for_an_answer() -> None:
    channel = Answer(LinkLost("the control channel was lost"))
    assert "(the control channel was lost)" in unknown(asked(channel)[1])
    assert channel.hung_up


def test_a_destination_that_is_silent_is_waited_for_as_long_as_for_any_answer() -> None:
    channel = Answer(None, Clock())
    clock, got = asked(channel)
    settings = MigrationSettings(vm="web1")
    seconds = settings.steps.answer + settings.settle
    clock.advance(seconds - 0.1)
    assert got == []
    clock.advance(0.2)
    assert f"(the destination has not answered for {seconds:g} s)" in unknown(got)
    assert channel.hung_up
