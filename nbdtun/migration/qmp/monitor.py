"""
A QMP connection to one QEMU; with ``loop_thread`` the only module that knows asyncio and qemu.qmp.

It promises that every wait ends. A command fails when QEMU refuses it, when the connection drops and when QEMU does not answer in
time (a stopped process keeps its sockets). A listener fails when the connection drops (qemu.qmp's own would wait for ever). A loss is
reported to every caller of :meth:`Monitor.when_lost`.

It does not know the outcome of a command whose answer did not come. After a :class:`~nbdtun.errors.MonitorError`, the caller must ask
QEMU before it repeats anything.

QEMU facts (7.2 and 10.0): a ``server=on`` monitor serves one client at a time. The next client's connect succeeds, but no greeting
comes; the one after that gets EAGAIN, as the listen queue is short.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from qemu.qmp import ConnectError, EventListener, ExecuteError, Message, QMPError, Runstate
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from nbdtun.deferreds import with_timeout
from nbdtun.errors import CommandFailed, MonitorError, MonitorLost
from nbdtun.migration.qmp.dial import dial, is_held
from nbdtun.migration.qmp.events import FLOODED, Event, Flood, Listener
from nbdtun.migration.qmp.greeting import Client, require_qmp
from nbdtun.migration.qmp.life import TRANSITIONS, State, Trigger
from nbdtun.migration.qmp.loop_thread import LoopThread, in_loop
from nbdtun.migration.qmp.schema import ANSWERS, EVENTS, MANY, mismatch
from nbdtun.ownership.reach import Credentials, peer
from nbdtun.states import Life

GREETING_SECONDS, CLOSING_SECONDS = 10.0, 5.0
#: Seconds after which the monitor of another client is given up; one that is just closed is free before.
HELD_SECONDS = 3.0
#: How many of many questions are under way at a time.
AT_ONCE = 64

__all__ = ["Credentials", "Monitor"]

_thread = LoopThread()
_quiet = logging.getLogger("nbdtun.qmp")  # what qemu.qmp logs we raise; set propagate to see its wire log
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Monitor:
    """
    One connection to the QMP socket ``path`` of the VM ``name``; ``seconds`` is how long QEMU may take for an answer.

    ``reactor`` provides ``IReactorTime`` and ``IReactorFromThreads``, as every reactor does.
    """

    def __init__(self, reactor: IReactorTime, path: str, name: str, seconds: float = 60.0) -> None:
        self.path = path
        self.name = name
        self._reactor = reactor
        self._threads = cast("IReactorFromThreads", reactor)
        self._seconds = seconds
        self._life = Life(TRANSITIONS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._client: _Client | None = None
        self._loss: MonitorLost | None = None
        self._breaking = False
        self._waiters: list[Deferred[MonitorLost]] = []
        self._listeners: list[Listener] = []
        self._commands: frozenset[str] | None = None
        self._ended: Deferred[None] = Deferred()
        self.credentials: Credentials | None = None

    def __repr__(self) -> str:
        return f"<Monitor {self.name} {self.path} {self._life.state.value}>"

    async def connect(self) -> None:
        """
        Connect and negotiate.

        :raise MonitorError: with the path, the reason and the remedy.
        """
        try:
            client, loop = await self._open()
        except BaseException:
            self._life.advance(Trigger.FAIL)
            raise
        self._life.advance(Trigger.CONNECT)
        self._client, self._loop, self._ended = client, loop, Deferred()
        in_loop(self._threads, loop, client.until_end).addCallbacks(self._end, lambda failure: self._end(str(failure.value)))

    async def _open(self) -> tuple[_Client, asyncio.AbstractEventLoop]:
        self._socket = sock = dial(self.path)
        self.credentials = peer(sock)
        client, loop = _Client(self), _thread.hold()
        try:
            await in_loop(self._threads, loop, partial(client.open, sock))
        except BaseException:
            sock.close()
            _thread.release()
            raise
        return client, loop

    async def renew(self) -> bool:
        """
        Connect again, if the connection was lost; returns whether there is one now. A QEMU whose monitor was closed may live on.
        Another one in its place, which its supervisor has started, is none of ours.

        All earlier waits have failed with the loss; new listeners work again.
        """
        if self._breaking or self._life.state is State.LOST:  # a command may have heard of it first
            await self._ended
        if self._life.advance(Trigger.RENEW):
            lost, self._loss, self._breaking = self._loss, None, False
            before = self.credentials
            try:
                await self.connect()
                await self._require_same(before)
            except BaseException as error:
                self._loss = lost  # the first loss is the one to report
                if not isinstance(error, MonitorError):
                    raise
        return self._life.state is State.CONNECTED

    async def _require_same(self, before: Credentials | None) -> None:
        if before is not None and self.credentials is not None and before.pid != self.credentials.pid:
            await self.close()
            raise MonitorError(f"{self.path}: another QEMU listens there")

    async def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, seconds: float | None = None, urgent: bool = False
    ) -> Any:
        """
        Execute a QMP command and return its result; ``seconds`` replaces the monitor's own limit.

        ``urgent`` overtakes commands that QEMU is still busy with (out of band); few commands can.

        :raise CommandFailed: QEMU refused it.
        :raise MonitorLost: the connection dropped; whether it was carried out is unknown.
        :raise MonitorError: no answer came in time, with the same uncertainty, or the answer is malformed.
        """
        limit = self._seconds if seconds is None else seconds
        result = await self._asked(command, limit, lambda client: client.ask(command, arguments, urgent))
        wrong = mismatch(ANSWERS.get(command), result)
        if wrong:
            raise MonitorError(f"{self.name}: QEMU's answer to {command} is malformed ({wrong}); is {self.path} a QEMU monitor?")
        return result

    async def ask_all(self, command: str, questions: Sequence[Mapping[str, Any]]) -> list[Any]:
        """
        Execute one command for each of many arguments, without waiting between them; returns the results, None where QEMU refuses.

        Only for commands that change nothing.

        :raise MonitorError: as of :meth:`execute`.
        """
        results = await self._asked(command, self._seconds, lambda client: client.ask_all(command, questions))
        return [None if mismatch(MANY.get(command), result) else result for result in results]

    async def _asked(self, command: str, seconds: float, ask: Callable[[_Client], Coroutine[Any, Any, Any]]) -> Any:
        client, loop = self._client, self._loop
        if client is None or loop is None or self._life.state is not State.CONNECTED:
            raise self._loss.again() if self._loss else MonitorLost(f"{self.name}: {command}: the monitor {self.path} is not connected")
        answer = in_loop(self._threads, loop, lambda: ask(client))
        try:
            return await with_timeout(self._reactor, seconds, answer, lambda: self._unanswered(command, seconds))
        except MonitorLost:
            self._breaking = True
            raise
        except CancelledError:
            if self._loss is not None and self._life.state is not State.CONNECTED:  # not by the asker: the thread's work ended with it
                raise self._loss.again() from None
            raise

    def _unanswered(self, command: str, seconds: float) -> MonitorError:
        return MonitorError(f"{self.name}: QEMU has not answered {command} for {seconds:g} s; is it stopped, or is its storage hanging?")

    def listen(self, *names: str) -> Listener:
        """Listen to the events of these names from now on; a context manager."""
        listener = Listener(self._reactor, names, self._forget)
        self._listeners.append(listener)
        if self._loss is not None:
            listener.end(self._loss)
        return listener

    def _forget(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def commands(self) -> frozenset[str]:
        """The names of all commands that QEMU supports; asked once (``query-qmp-schema`` knows more, and takes 50 ms)."""
        if self._commands is None:
            self._commands = frozenset(command["name"] for command in await self.execute("query-commands"))
        return self._commands

    async def has(self, command: str) -> bool:
        """Whether QEMU supports ``command``."""
        return command in await self.commands()

    def when_lost(self) -> Deferred[MonitorLost]:
        """Fires when the connection drops and we did not close it, at once if it has; each call gives a Deferred of its own."""
        mourner: Deferred[MonitorLost] = Deferred()
        if self._loss is not None:
            mourner.callback(self._loss)
        else:
            self._waiters.append(mourner)
        return mourner

    async def close(self) -> None:
        """Close the connection; safe in any state. Commands in flight fail with MonitorLost."""
        if self._life.advance(Trigger.CLOSE):
            self._hang_up()
            await self._ended

    def heard(self, name: str, data: Mapping[str, Any]) -> None:
        """An event came, in the reactor's thread."""
        wrong = mismatch(EVENTS.get(name), data)
        if wrong:
            self._drop(f"the event {name} is malformed ({wrong}); is {self.path} a QEMU monitor?")
            return
        event = Event(name, data, self._reactor.seconds())
        for listener in tuple(self._listeners):
            listener.hear(event)
        if any(listener.overrun for listener in self._listeners):
            self._drop(FLOODED)

    def _drop(self, reason: str) -> None:
        """Close the connection: a malformed event may be one that is waited for."""
        if self._life.state is State.CONNECTED:
            self.lose(reason)
            self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # QEMU was quicker
                self._socket.shutdown(socket.SHUT_RDWR)

    def _end(self, reason: str) -> None:
        """The connection has ended, and with it our use of the thread."""
        _thread.release()
        if self._life.state is not State.LOST:
            self.lose(reason)
        self._ended.callback(None)

    def lose(self, reason: str) -> None:
        """Fail all waits, in the reactor's thread: nothing more will come."""
        self._life.advance(Trigger.LOSE)  # first: those who wait may renew it at once
        closed = self._life.state is State.CLOSED
        self._loss = loss = MonitorLost(f"{self.name}: {'the monitor ' + self.path + ' was closed' if closed else reason}")
        mourners, self._waiters = ([] if closed else self._waiters), []
        for listener in tuple(self._listeners):
            listener.end(loss)
        for mourner in mourners:
            if not mourner.called:
                mourner.callback(loss)


class _Client:
    """The asyncio side; each method except the constructor runs in the thread."""

    def __init__(self, monitor: Monitor) -> None:
        self._name = monitor.name
        self._path = monitor.path
        self._qmp = Client()
        self._qmp.logger = _quiet
        self._qmp.events.event_filter = lambda _: False  # the default listener would keep every event for ever
        self._qmp.register_listener(_Tap(monitor))

    async def open(self, sock: socket.socket) -> None:
        remedy = "give QEMU a second -qmp"
        busy = f"{self._path}: no QMP greeting; another client holds it (another nbdtun?), or it is not a QMP socket"
        greeting = asyncio.ensure_future(self._greet(sock))
        try:
            await asyncio.wait({greeting}, timeout=HELD_SECONDS)
            if not greeting.done() and is_held(self._path):
                raise MonitorError(f"{self._path}: another client holds this monitor (another nbdtun?)", remedy)
            await asyncio.wait_for(greeting, GREETING_SECONDS - HELD_SECONDS)
        except TimeoutError:
            raise MonitorError(busy, remedy) from None
        except ConnectError as error:
            held = isinstance(error.exc, EOFError)
            raise MonitorError(busy if held else f"{self._path}: {error}", remedy if held else "") from error
        finally:
            greeting.cancel()
            await asyncio.wait({greeting})  # it still watches the socket

    async def _greet(self, sock: socket.socket) -> None:
        await require_qmp(sock, self._path)
        await self._qmp.connect(sock)

    async def ask(self, command: str, arguments: Mapping[str, Any] | None, urgent: bool) -> object:
        try:
            return await self._qmp.execute(command, arguments, oob=urgent)
        except ExecuteError as error:
            raise CommandFailed(f"{self._name}: QEMU refused {command}: {error}", error.error_class) from error
        except (QMPError, OSError, EOFError, asyncio.CancelledError) as error:
            # qemu.qmp cancels what waits when it meets nonsense; where we cancel, nobody waits for this error.
            raise MonitorLost(
                f"{self._name}: QEMU closed its monitor {self._path} during {command}; it has ended, and its log (stderr) has the reason"
            ) from error

    async def ask_all(self, command: str, questions: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The answers in the order of the questions; enough are under way at a time that QEMU never waits for the next."""
        answers: list[Any] = []
        for first in range(0, len(questions), AT_ONCE):
            some = [self.ask(command, question, urgent=False) for question in questions[first : first + AT_ONCE]]
            answers += await asyncio.gather(*some, return_exceptions=True)
        failed = next((each for each in answers if isinstance(each, BaseException) and not isinstance(each, CommandFailed)), None)
        if failed is not None:
            raise failed
        return [None if isinstance(each, CommandFailed) else each for each in answers]

    async def until_end(self) -> str:
        """Wait until the connection has ended; returns why."""
        while self._qmp.runstate is Runstate.RUNNING:
            await self._qmp.runstate_changed()
        try:
            await asyncio.wait_for(self._qmp.disconnect(), CLOSING_SECONDS)
        except Exception as error:  # qemu.qmp raises here whatever has ended the connection
            if not isinstance(error, EOFError | ConnectionError | TimeoutError):
                return f"the monitor {self._path} failed: {error!r}"
        return f"QEMU closed its monitor {self._path}; it has ended, and its log (stderr) has the reason"


class _Tap(EventListener):
    """Hands events over to the reactor's thread, unless they are a flood."""

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self._monitor = monitor
        self._flood = Flood()

    async def put(self, event: Message) -> None:
        name, data = str(event["event"]), event.get("data", {})
        if self._flood.rises():
            self._monitor._threads.callFromThread(self._monitor._drop, FLOODED)
        else:
            self._monitor._threads.callFromThread(self._monitor.heard, name, data)
