"""A connection to QEMU's monitor."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater

from nbdtun.errors import CommandFailed, MonitorError, MonitorLost
from nbdtun.migration.qmp import monitor as module
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.ownership.reach import Credentials
from tests.migration.stage.monitored import connected, serve


@pytest_twisted.ensureDeferred
async def test_a_command_is_answered(path: str) -> None:
    async with connected(path) as (monitor, server):
        assert await monitor.execute("echo", {"a": 1}) == {"a": 1}
        assert await monitor.execute("echo", {"b": 2}, urgent=True) == {"b": 2}
        assert "exec-oob" in server.commands[-1]
        assert repr(monitor).endswith("connected>")
    assert repr(monitor).endswith("closed>")


@pytest_twisted.ensureDeferred
async def test_many_at_once_are_not_mixed_up(path: str) -> None:
    async with connected(path) as (monitor, _):
        asked = [Deferred.fromCoroutine(monitor.execute("echo", {"n": n})) for n in range(50)]
        assert [answer for _, answer in await DeferredList(asked)] == [{"n": n} for n in range(50)]


@pytest_twisted.ensureDeferred
async def test_a_refusal_carries_qemus_words_and_class(path: str) -> None:
    async with connected(path) as (monitor, _):
        with pytest.raises(CommandFailed, match="web1: QEMU refused fail: no such thing") as caught:
            await monitor.execute("fail")
        assert caught.value.kind == "DeviceNotFound"


@pytest_twisted.ensureDeferred
async def test_an_answer_that_does_not_come(path: str) -> None:
    async with connected(path, seconds=0.05) as (monitor, _):
        with pytest.raises(MonitorError, match=r"web1: QEMU has not answered sleep for 0.05 s; is it stopped"):
            await monitor.execute("sleep")
        with pytest.raises(MonitorError, match=r"for 0.01 s"):
            await monitor.execute("sleep", seconds=0.01)
        assert await monitor.execute("echo") == {}


@pytest_twisted.ensureDeferred
async def test_a_command_that_is_not_waited_for_any_more(path: str) -> None:
    async with connected(path) as (monitor, _):
        asked = Deferred.fromCoroutine(monitor.execute("sleep"))
        asked.cancel()
        with pytest.raises(CancelledError):
            await asked
        assert await monitor.execute("echo") == {}


@pytest_twisted.ensureDeferred
async def test_events_come_in_their_order_with_the_answers(path: str) -> None:
    async with connected(path) as (monitor, _):
        with monitor.listen("STOP") as events, monitor.listen("RESUME") as others:
            await monitor.execute("tell")
            event = await events.next(5)
            assert (event.name, event.data) == ("STOP", {"a": 1})
            assert abs(event.seconds - reactor.seconds()) < 5
            assert not others.heard
        await monitor.execute("tell")
        assert not events.heard


@pytest.mark.parametrize("command", ["drop", "babble"])
@pytest_twisted.ensureDeferred
async def test_a_loss_ends_every_wait_and_is_told(path: str, command: str) -> None:
    async with connected(path) as (monitor, _):
        lost, given_up = monitor.when_lost(), monitor.when_lost()
        given_up.addErrback(lambda _: None)
        given_up.cancel()
        with monitor.listen("STOP") as events:
            waiting = Deferred.fromCoroutine(monitor.execute("sleep"))
            with pytest.raises(MonitorLost):
                await monitor.execute(command)
            with pytest.raises(MonitorLost):
                await waiting
            with pytest.raises(MonitorLost):
                await events.next()
        error = await lost
        assert str(error).startswith(f"web1: {'QEMU closed its monitor' if command == 'drop' else 'the monitor'} {path}")
        assert (await monitor.when_lost()) is error
        with pytest.raises(MonitorLost):
            await monitor.execute("echo")
        with monitor.listen("STOP") as late, pytest.raises(MonitorLost):
            await late.next()
        assert repr(monitor).endswith("lost>")


@pytest_twisted.ensureDeferred
async def test_a_lost_one_is_renewed_where_qemu_lives_on(path: str) -> None:
    async with connected(path) as (monitor, _):
        renewed: list[Deferred[bool]] = []
        monitor.when_lost().addCallback(lambda _: renewed.append(Deferred.fromCoroutine(monitor.renew())))
        with monitor.listen("STOP") as events:
            with pytest.raises(MonitorLost):
                await monitor.execute("drop")
            with pytest.raises(MonitorLost):
                await events.next()
        await deferLater(reactor, 0.05)
        assert await renewed[0]
        assert await monitor.execute("echo", {"a": 1}) == {"a": 1}
        assert await monitor.renew()  # there is nothing to do


@pytest_twisted.ensureDeferred
async def test_a_lost_one_is_not_renewed_where_qemu_has_ended(path: str) -> None:
    async with connected(path) as (monitor, _):
        with pytest.raises(MonitorLost):
            await monitor.execute("drop")
        await monitor.when_lost()
        os.rename(path, f"{path}.gone")
        assert not await monitor.renew()
        with pytest.raises(MonitorLost, match="QEMU closed its monitor"):
            await monitor.execute("echo")
        assert not await Deferred.fromCoroutine(monitor.renew()).addTimeout(5, reactor)  # nor the next time
        os.rename(f"{path}.gone", path)
        assert await monitor.renew()


@pytest_twisted.ensureDeferred
async def test_another_qemu_in_its_place_is_not_it(path: str) -> None:
    async with connected(path) as (monitor, _):
        with pytest.raises(MonitorLost):
            await monitor.execute("drop")
        await monitor.when_lost()
        assert monitor.credentials is not None
        monitor.credentials = evolve(monitor.credentials, pid=1)
        assert not await monitor.renew()
        with pytest.raises(MonitorLost, match="QEMU closed its monitor"):
            await monitor.execute("echo")
        assert repr(monitor).endswith("closed>")


@pytest_twisted.ensureDeferred
async def test_closing_it_is_no_loss(path: str) -> None:
    async with connected(path) as (monitor, _):
        lost: list[Any] = []
        monitor.when_lost().addBoth(lost.append)
        waiting = Deferred.fromCoroutine(monitor.execute("sleep"))
        await monitor.close()
        await monitor.close()
        with pytest.raises(MonitorLost):
            await waiting
        with pytest.raises(MonitorLost, match="was closed"):
            await monitor.execute("echo")
        assert not lost


@pytest_twisted.ensureDeferred
async def test_what_qemu_understands_is_asked_once(path: str) -> None:
    async with connected(path) as (monitor, server):
        assert await monitor.has("echo")
        assert not await monitor.has("no-such")
        assert [message.get("execute") for message in server.commands] == ["qmp_capabilities", "query-commands"]


@pytest_twisted.ensureDeferred
async def test_whose_process_it_is(path: str) -> None:
    async with connected(path) as (monitor, _):
        assert monitor.credentials == Credentials(os.getpid(), os.geteuid(), os.getegid())


async def refused(path: str) -> str:
    monitor = Monitor(reactor, path, "web1")
    with pytest.raises(MonitorError) as caught:
        await monitor.connect()
    await monitor.close()
    return str(caught.value)


@pytest_twisted.ensureDeferred
async def test_sockets_that_cannot_be_used(path: str) -> None:
    assert await refused(path) == f"{path}: No such file or directory; is QEMU running, with -qmp unix:PATH,server=on,wait=off?"
    Path(path).touch()
    assert await refused(path) == f"{path}: it is not a socket"
    assert "the path of a UNIX socket has at most 107 bytes" in await refused("/tmp/" + "x" * 120)


@pytest_twisted.ensureDeferred
async def test_a_monitor_that_another_client_holds(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This server has accepted us too, so nothing is certain."""
    monkeypatch.setattr(module, "GREETING_SECONDS", 0.05)
    monkeypatch.setattr(module, "HELD_SECONDS", 0.02)
    async with serve(path, greet=False):
        text = await refused(path)
        assert (
            text
            == f"{path}: no QMP greeting; another client holds it (another nbdtun?), or it is not a QMP socket; give QEMU a second -qmp"
        )


@pytest_twisted.ensureDeferred
async def test_a_monitor_that_another_client_certainly_holds(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server has accepted one client, and lets us wait: that is told long before the time for a greeting is over."""
    monkeypatch.setattr(module, "HELD_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(path)
        listener.listen(1)
        other.connect(path)
        with listener.accept()[0]:
            text = await refused(path)
    assert text == f"{path}: another client holds this monitor (another nbdtun?); give QEMU a second -qmp"


@pytest_twisted.ensureDeferred
async def test_a_monitor_that_is_closed_just_now(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has accepted nobody may be busy; whoever waits is served."""
    monkeypatch.setattr(module, "HELD_SECONDS", 0.02)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        connecting = Deferred.fromCoroutine(Monitor(reactor, path, "web1").connect())
        await deferLater(reactor, 0.1)
        assert not connecting.called
        listener.accept()[0].close()
        with pytest.raises(MonitorError, match="no QMP greeting"):
            await connecting


@pytest_twisted.ensureDeferred
async def test_a_monitor_for_which_many_wait(path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    waiting = []
    with listener:
        for _ in range(3):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            try:
                waiting[-1].connect(path)
            except BlockingIOError:
                break
        assert "another client holds this monitor, and others are waiting for it" in await refused(path)
        for one in waiting:
            one.close()


@pytest_twisted.ensureDeferred
async def test_something_else_than_qmp(path: str) -> None:
    async with serve(path, greet=False) as factory:
        connecting = Deferred.fromCoroutine(refused(path))
        while not factory.connections:
            await deferLater(reactor, 0.01)
        factory.connections[0].transport.write(b"SSH-2.0-OpenSSH\n")  # type: ignore[union-attr]
        assert path in await connecting


@pytest_twisted.ensureDeferred
async def test_many_questions_at_once(path: str) -> None:
    async with connected(path) as (monitor, server):
        assert await monitor.ask_all("echo", [{"n": n} for n in range(200)]) == [{"n": n} for n in range(200)]
        assert await monitor.ask_all("fail", [{}, {}]) == [None, None]
        assert await monitor.ask_all("echo", []) == []
        with pytest.raises(MonitorLost):
            await monitor.ask_all("drop", [{}])
        assert len(server.commands) == 204
    with pytest.raises(MonitorLost):
        await monitor.ask_all("echo", [{}])


@pytest_twisted.ensureDeferred
async def test_questions_that_nobody_answers(path: str) -> None:
    async with connected(path, seconds=0.1) as (monitor, _):
        with pytest.raises(MonitorError, match=r"QEMU has not answered hang for 0\.1 s"):
            await monitor.ask_all("hang", [{}])
