from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Coroutine

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorFromThreads

from nbdtun.migration.qmp.loop_thread import LoopThread, in_loop


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nbdtun-qmp" and thread.is_alive()]


async def a_moment() -> None:
    await asyncio.sleep(0.01)


@pytest.fixture
def thread() -> LoopThread:
    for old in threads():
        old.join(5)
    return LoopThread()


def test_it_runs_while_somebody_holds_it(thread: LoopThread) -> None:
    assert not threads()
    loop = thread.hold()
    assert thread.hold() is loop
    (running,) = threads()
    assert running.daemon
    thread.release()
    assert repr(thread) == "<LoopThread running, 1 holders>"
    thread.release()
    running.join(5)
    assert not running.is_alive()
    assert loop.is_closed()
    assert repr(thread) == "<LoopThread idle, 0 holders>"


def test_it_can_be_held_again(thread: LoopThread) -> None:
    first = thread.hold()
    thread.release()
    second = thread.hold()
    assert second is not first
    thread.release()


def test_it_is_ended_with_the_interpreter(thread: LoopThread) -> None:
    loop = thread.hold()
    thread._end()
    assert loop.is_closed()
    assert not threads()
    thread._end()


def test_what_still_runs_at_the_end_is_given_up(thread: LoopThread) -> None:
    loop = thread.hold()
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(1000), loop)
    (running,) = threads()
    thread.release()
    running.join(5)
    assert future.cancelled()


@pytest_twisted.ensureDeferred
async def test_results_and_errors_arrive_in_the_reactors_thread(thread: LoopThread) -> None:
    loop = thread.hold()

    async def where() -> threading.Thread:
        return threading.current_thread()

    async def wrong() -> None:
        raise KeyError("k")

    assert (await in_loop(IReactorFromThreads(reactor), loop, where)) is not threading.current_thread()
    with pytest.raises(KeyError):
        await in_loop(IReactorFromThreads(reactor), loop, wrong)
    thread.release()


@pytest_twisted.ensureDeferred
async def test_an_error_that_comes_too_late_is_nobodys(thread: LoopThread, caplog: pytest.LogCaptureFixture) -> None:
    loop = thread.hold()

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            raise KeyError("the monitor is gone") from None

    waiting = in_loop(IReactorFromThreads(reactor), loop, work)
    await in_loop(IReactorFromThreads(reactor), loop, a_moment)
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    await in_loop(IReactorFromThreads(reactor), loop, a_moment)
    gc.collect()
    assert caplog.text == ""
    thread.release()


@pytest_twisted.ensureDeferred
async def test_cancelling_reaches_the_work(thread: LoopThread) -> None:
    loop = thread.hold()
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.set()

    waiting = in_loop(IReactorFromThreads(reactor), loop, work)
    await in_loop(IReactorFromThreads(reactor), loop, a_moment)
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    assert ended.wait(5)
    thread.release()


@pytest_twisted.ensureDeferred
async def test_work_that_comes_after_the_end_is_told_so(thread: LoopThread, capfd: pytest.CaptureFixture[str]) -> None:
    loop = thread.hold()
    (running,) = threads()
    begun, ended = threading.Event(), threading.Event()

    async def slow_to_end() -> None:
        try:
            begun.set()
            await asyncio.sleep(1000)
        finally:
            ended.set()
            await asyncio.sleep(0.2)

    asyncio.run_coroutine_threadsafe(slow_to_end(), loop)
    assert begun.wait(10)
    thread.release()
    assert ended.wait(10)
    waiting = in_loop(IReactorFromThreads(reactor), loop, lambda: asyncio.sleep(1000))
    with pytest.raises(CancelledError):
        await waiting
    running.join(5)
    waiting.cancel()
    assert capfd.readouterr().err == ""


@pytest_twisted.ensureDeferred
async def test_work_that_the_end_overtakes_is_never_begun(thread: LoopThread) -> None:
    """Not even its coroutine is made: Python would complain that it was never awaited."""
    loop = thread.hold()
    made: list[str] = []

    def work() -> Coroutine[None, None, None]:
        made.append("work")
        return a_moment()

    begun, both = threading.Event(), threading.Event()

    def stand_still() -> None:
        """Until both are there, so that the work and the end are found together."""
        begun.set()
        both.wait(10)

    loop.call_soon_threadsafe(stand_still)
    assert begun.wait(10)
    waiting = in_loop(IReactorFromThreads(reactor), loop, work)
    thread.release()
    both.set()
    with pytest.raises(CancelledError):
        await waiting
    assert made == []
