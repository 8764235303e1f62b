"""Something that is no QEMU, or a QEMU that has gone wrong, at the other end of a monitor."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from nbdtun.errors import CommandFailed, MonitorError, MonitorLost
from nbdtun.migration.qmp.events import EVENTS, WAITING
from nbdtun.migration.qmp.monitor import Monitor
from tests.migration.stage.monitored import connected, serve
from tests.migration.stage.qmp_server import QmpServer


def confuse(server: QmpServer, message: dict[str, Any]) -> None:
    """Answers nonsense, or says it."""
    if message["execute"] == "query-status":
        server.send({"return": {"status": ["running"]}, "id": message["id"]})
    elif message["execute"] == "tell":
        server.send({"event": "MIGRATION", "data": [], "timestamp": {"seconds": 1, "microseconds": 2}})
    elif message["execute"] == "echo":
        server.send({"return": {}, "id": message["id"]})


@pytest_twisted.ensureDeferred
async def test_an_answer_that_no_qemu_gives_is_one_line(path: str) -> None:
    async with serve(path, confuse):
        monitor = Monitor(reactor, path, "web1")
        await monitor.connect()
        with pytest.raises(MonitorError) as caught:
            await monitor.execute("query-status")
        assert str(caught.value) == (
            f"web1: QEMU's answer to query-status is malformed (status is not printable text); is {path} a QEMU monitor?"
        )
        assert await monitor.execute("echo") == {}
        await monitor.close()


@pytest_twisted.ensureDeferred
async def test_an_event_that_no_qemu_sends_ends_every_wait(path: str) -> None:
    async with serve(path, confuse):
        monitor = Monitor(reactor, path, "web1")
        await monitor.connect()
        lost = monitor.when_lost()
        with monitor.listen("MIGRATION") as events:
            waiting = Deferred.fromCoroutine(monitor.execute("tell"))
            with pytest.raises(MonitorLost, match="the event MIGRATION is malformed"):
                await events.next(5)
            with pytest.raises(MonitorLost):
                await waiting
        assert "is malformed (it is not an object)" in str(await lost)
        with pytest.raises(MonitorLost, match="is malformed"):
            await monitor.execute("echo")
        await monitor.close()


@pytest_twisted.ensureDeferred
async def test_a_flood_of_events_ends_its_own_monitor(path: str) -> None:
    """Whether anybody listens to them or not: each takes time from every other channel."""
    async with connected(path) as (monitor, server), connected(f"{path}2") as (other, _):
        lost = monitor.when_lost()
        for _ in range(EVENTS + 10):
            server.send({"event": "RTC_CHANGE", "data": {"offset": 1}, "timestamp": {"seconds": 1, "microseconds": 2}})
        assert "QEMU sends more than 5000 events in 5 s" in str(await lost)
        assert await other.execute("echo") == {}


@pytest_twisted.ensureDeferred
async def test_events_that_nobody_takes_end_it_too(path: str) -> None:
    async with connected(path) as (monitor, server):
        with monitor.listen("STOP"):
            lost = monitor.when_lost()
            for _ in range(WAITING + 10):
                server.send({"event": "STOP", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}})
            assert "or sends them faster than they are dealt with" in str(await lost)


@pytest.mark.parametrize("nonsense", ["[" * 5000, '{"event":' * 5000, '{"event": 7}', '{"event": "STOP"}', '{"return": 1, "id": {}}'])
@pytest_twisted.ensureDeferred
async def test_nonsense_ends_it_in_one_line(path: str, nonsense: str) -> None:
    async with connected(path) as (monitor, server):
        server.transport.write(nonsense.encode() + b"\r\n")  # type: ignore[union-attr]
        with contextlib.suppress(MonitorError):
            await monitor.execute("drop")
        assert (await monitor.when_lost()).line.isprintable()
        with pytest.raises(MonitorLost):
            await monitor.execute("echo")


@pytest_twisted.ensureDeferred
async def test_its_words_are_a_part_of_one_line(path: str) -> None:
    async with connected(path) as (monitor, _):
        with pytest.raises(CommandFailed) as failed:
            await monitor.execute("insult")
        assert str(failed.value) == "web1: QEMU refused insult: no?]0;owned?? nbdtun: all is well"
