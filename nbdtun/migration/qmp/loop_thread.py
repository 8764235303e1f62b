"""
The thread in which qemu.qmp lives.

qemu.qmp uses asyncio, and Twisted need not. So all monitors share one asyncio loop in one daemon thread, and any reactor will do.
The thread starts with the first monitor and ends with the last. It is a daemon thread, and ended at exit, so that an interpreter that
exits without closing its monitors neither hangs nor complains.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

T = TypeVar("T")
EXIT_SECONDS = 2.0
#: For tasks to end with the loop; and between two looks for new ones.
WIND_UP_SECONDS = 1.0
LOOK_SECONDS = 0.05


class LoopThread:
    """An asyncio loop that runs in a thread for as long as it has holders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<LoopThread {'idle' if self._loop is None else 'running'}, {self._holders} holders>"

    def hold(self) -> asyncio.AbstractEventLoop:
        """Start the thread if it is not running; each call needs a call of :meth:`release`."""
        with self._lock:
            self._holders += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="nbdtun-qmp", daemon=True)
                self._thread.start()
                atexit.register(self._end)
            return self._loop

    def release(self) -> None:
        """End the thread if this was the last holder."""
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._stop()

    def _stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None
            atexit.unregister(self._end)

    def _end(self) -> None:
        """The interpreter exits, and a monitor was not closed."""
        self._stop()
        if self._thread is not None:
            self._thread.join(EXIT_SECONDS)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_wind_up(_cancelled(asyncio.all_tasks(loop))))
    finally:
        loop.close()


async def _wind_up(told: set[asyncio.Task[Any]]) -> None:
    """Wait for the tasks that were ``told`` to end. Work may still come, and would never hear of the end: it is told too."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WIND_UP_SECONDS
    while (left := asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}) and loop.time() < end:
        told |= _cancelled(left - told)
        await asyncio.wait(left, timeout=LOOK_SECONDS)


def _cancelled(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    for task in tasks:
        task.cancel()
    return tasks


async def _outcome(work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T | None, Exception | None]:
    """
    Do ``work``; an error is a result too, or asyncio would complain on stderr about one that comes while the work is cancelled.

    Its coroutine is made here, not earlier: Python complains about a coroutine that is never awaited, as when work is cancelled at once.
    """
    try:
        return await work(), None
    except Exception as error:  # the asker's, in the reactor's thread
        return None, error


def in_loop(reactor: IReactorFromThreads, loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
    """Do ``work`` in the thread of ``loop``; its result arrives in the reactor's thread. Cancelling the Deferred cancels the work."""
    future = asyncio.run_coroutine_threadsafe(_outcome(work), loop)

    def give_up(_: Deferred[T]) -> None:
        if not loop.is_closed():
            future.cancel()

    arrival: Deferred[T] = Deferred(give_up)

    def hand_over() -> None:
        if arrival.called:
            return
        try:
            result, error = future.result()
        except FutureCancelled:
            arrival.cancel()
            return
        if error is None:
            arrival.callback(cast("T", result))
        else:
            arrival.errback(error)

    future.add_done_callback(lambda _: reactor.callFromThread(hand_over))
    return arrival
