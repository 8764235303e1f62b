"""The log of a worker, as its main process writes it: the same events, within one limit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from nbdtun.logs import make_named
from nbdtun.service.workers.lines import LIMITED, ONCE, Lines, sending
from nbdtun.tunnel.runtime.log_limits import LINES, LineLimit


def crossed(*emit: Any) -> list[dict[str, Any]]:
    """The events that are sent while these are called, as they arrive."""
    events: list[dict[str, Any]] = []
    observer = sending(lambda event: events.append(json.loads(json.dumps(event))))
    globalLogPublisher.addObserver(observer)
    for each in emit:
        each()
    globalLogPublisher.removeObserver(observer)
    return events


def test_an_event_is_the_same_at_the_other_end() -> None:
    log = make_named("nbdtun.somewhere")
    (event,) = crossed(lambda: log.warn("channel {channel}: {count} of {rest!s}", channel="a", count=3, rest=0.5))
    lines = Lines(LineLimit(Clock().callLater), Clock().seconds)
    (again,) = crossed(lambda: lines.write(1, event))
    assert again == event
    assert event == {
        "namespace": "nbdtun.somewhere",
        "level": "warn",
        "format": "channel {channel}: {count} of {rest!s}",
        "values": {"channel": "a", "count": 3, "rest": 0.5},
    }


@pytest.mark.bug
def test_a_bugs_traceback_arrives() -> None:
    (event,) = crossed(lambda: make_named("nbdtun.x").failure("a bug in nbdtun", failure=Failure(ValueError("of ours"))))
    assert (event["level"], "ValueError: of ours" in event["values"]["text"]) == ("critical", True)


def test_others_are_heard_from_a_warning_on() -> None:
    other = Logger("twisted.x")
    events = crossed(lambda: other.info("a port"), lambda: other.emit(LogLevel.warn, "trouble"))
    assert [event["format"] for event in events] == ["trouble"]


def test_what_peers_cause_is_limited_for_all_together() -> None:
    lines = Lines(LineLimit(Clock().callLater), Clock().seconds)
    event = {"namespace": LIMITED, "level": "info", "format": "a line", "values": {}}
    other = {**event, "namespace": "nbdtun.other"}
    written = crossed(*[lambda: lines.write(1, event)] * (LINES + 5), lambda: lines.write(1, other))
    assert len(written) == LINES + 1


def test_what_several_say_at_a_time_is_written_once() -> None:
    """But not what one of them says twice, nor what another says much later."""
    clock = Clock()
    lines = Lines(LineLimit(clock.callLater), clock.seconds)
    event = {"namespace": "nbdtun.tls.renewal", "level": "info", "format": "they have changed", "values": {}}
    for whose, after, written in ((1, 0.0, 1), (2, 1.0, 0), (3, 1.0, 0), (1, 0.0, 1), (2, ONCE + 1, 1)):
        clock.advance(after)
        assert len(crossed(lambda whose=whose: lines.write(whose, event))) == written
