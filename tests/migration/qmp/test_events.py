from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MonitorError, MonitorLost
from nbdtun.migration.qmp.events import EVENTS, PERIOD, WAITING, Event, Flood, Listener


def listener(clock: Clock, *names: str) -> tuple[Listener, list[Listener]]:
    left: list[Listener] = []
    return Listener(clock, names, left.append), left


def next_of(events: Listener, seconds: float | None = None) -> list[Any]:
    got: list[Any] = []
    Deferred.fromCoroutine(events.next(seconds)).addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got


def test_events_come_in_their_order_whoever_waits_first() -> None:
    events, _ = listener(Clock(), "STOP", "RESUME")
    events.hear(Event("STOP"))
    events.hear(Event("OTHER"))
    assert [event.name for event in events.heard] == ["STOP"]
    assert next_of(events) == [Event("STOP")]
    waiting = next_of(events)
    assert not waiting
    events.hear(Event("RESUME", {"a": 1}, 2.0))
    assert waiting == [Event("RESUME", {"a": 1}, 2.0)]


def test_a_wait_ends_in_time() -> None:
    clock = Clock()
    events, _ = listener(clock, "STOP", "RESUME")
    got = next_of(events, 3)
    clock.advance(3)
    assert isinstance(got[0], MonitorError)
    assert str(got[0]) == "QEMU sent no STOP or RESUME within 3 s"
    events.hear(Event("STOP"))  # nobody waits any more
    assert next_of(events, 3) == [Event("STOP")]


def test_what_was_heard_before_the_loss_still_counts() -> None:
    events, _ = listener(Clock(), "STOP")
    waiting = next_of(events)
    events.hear(Event("STOP"))
    events.hear(Event("STOP"))
    events.end(MonitorLost("gone"))
    assert waiting == [Event("STOP")]
    assert next_of(events) == [Event("STOP")]
    assert isinstance(next_of(events)[0], MonitorLost)
    assert repr(events) == "<Listener STOP, 0 heard, lost>"


def test_a_loss_ends_the_wait() -> None:
    events, _ = listener(Clock(), "STOP")
    waiting = next_of(events)
    events.end(MonitorLost("gone"))
    assert str(waiting[0]) == "gone"


def test_a_listener_is_overrun_by_what_nobody_takes() -> None:
    events, _ = listener(Clock(), "STOP")
    for _ in range(WAITING):
        events.hear(Event("STOP"))
        events.hear(Event("OTHER"))
    assert not events.overrun
    events.hear(Event("STOP"))
    assert events.overrun


def test_a_flood_is_more_than_so_many_in_a_period() -> None:
    clock = Clock()
    flood = Flood(clock.seconds)
    for _ in range(3):
        assert not any(flood.rises() for _ in range(EVENTS))
        assert flood.rises()
        clock.advance(PERIOD)
    assert repr(flood) == f"<Flood of {EVENTS + 1}>"


def test_leaving_the_context_is_leaving() -> None:
    events, left = listener(Clock(), "STOP")
    with events as same:
        assert same is events
        assert not left
    assert left == [events]
