from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.deferreds import branch, end_of, gather, shield, stopped, with_timeout


def outcome(deferred: Deferred[Any]) -> list[Any]:
    got: list[Any] = []
    deferred.addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got


def test_in_time_leaves_what_comes_in_time_alone() -> None:
    clock, waiting = Clock(), Deferred[str]()
    got = outcome(with_timeout(clock, 5, waiting, lambda: ValueError("late")))
    clock.advance(4.9)
    waiting.callback("here")
    clock.advance(1)
    assert got == ["here"]
    assert not clock.getDelayedCalls()


def test_in_time_ends_what_is_late() -> None:
    clock, cancelled = Clock(), list[Any]()
    got = outcome(with_timeout(clock, 5, Deferred(cancelled.append), lambda: ValueError("late")))
    clock.advance(5)
    assert str(got[0]) == "late"
    assert len(cancelled) == 1


def test_in_time_lets_an_error_pass() -> None:
    got = outcome(with_timeout(Clock(), 5, fail(KeyError("k")), lambda: ValueError("late")))
    assert isinstance(got[0], KeyError)


def test_in_time_does_not_take_a_cancellation_for_lateness() -> None:
    waiting: Deferred[None] = with_timeout(Clock(), 5, Deferred(), lambda: ValueError("late"))
    got = outcome(waiting)
    waiting.cancel()
    assert isinstance(got[0], CancelledError)


def test_every_waits_for_all() -> None:
    one, two = Deferred[int](), Deferred[int]()
    got = outcome(Deferred.fromCoroutine(gather([one, two, succeed(3)])))
    two.callback(2)
    assert not got
    one.callback(1)
    assert got == [[1, 2, 3]]


def test_every_fails_with_the_first_error_and_gives_the_others_up() -> None:
    cancelled: list[Any] = []
    one, two = Deferred[int](), Deferred[int](cancelled.append)
    got = outcome(Deferred.fromCoroutine(gather([one, two])))
    one.errback(ValueError("first"))
    assert isinstance(got[0], ValueError)
    assert cancelled == [two]


def test_every_can_be_cancelled_whatever_those_make_of_it_that_it_waits_for() -> None:
    deaf: Deferred[int] = Deferred()
    deaf.addErrback(lambda _: 7)  # answers a cancellation with a result
    waiting = Deferred.fromCoroutine(gather([deaf]))
    got = outcome(waiting)
    waiting.cancel()
    assert isinstance(got[0], CancelledError)
    assert deaf.called


@pytest.mark.parametrize("times", [0, 1, 3])
def test_undisturbed_hears_of_each_cancellation_and_waits_on(times: int) -> None:
    work, asked = Deferred[str](), []
    waiter = Deferred.fromCoroutine(shield(work, lambda: asked.append("please")))
    got = outcome(waiter)
    for _ in range(times):
        waiter.cancel()
    assert not got
    work.callback("done")
    assert got == ["done"]
    assert len(asked) == times


def test_undisturbed_ends_as_the_work_does_when_that_heeds_the_cancellation() -> None:
    work: Deferred[str] = Deferred()
    waiter = Deferred.fromCoroutine(shield(work, lambda: work.errback(ValueError("rolled back"))))
    got = outcome(waiter)
    waiter.cancel()
    assert isinstance(got[0], ValueError)


def test_everybody_gets_the_result() -> None:
    one: Deferred[int] = Deferred()
    got: list[int] = []
    for _ in range(2):
        branch(one).addCallback(got.append)
    one.addCallback(got.append)
    one.callback(7)
    branch(one).addCallback(got.append)
    assert got[:3] == [7, 7, 7]
    assert len(got) == 4


def test_and_everybody_the_failure() -> None:
    one: Deferred[int] = Deferred()
    failed: list[object] = []
    branch(one).addErrback(lambda failure: failed.append(failure.value))
    one.addErrback(lambda failure: failed.append(failure.value))
    one.errback(ValueError("no"))
    assert [str(error) for error in failed] == ["no", "no"]


@pytest.mark.parametrize("result", [7, Failure(ValueError("no"))])
def test_an_end_is_an_end_whatever_it_is(result: object) -> None:
    one: Deferred[object] = Deferred()
    ended: list[object] = []
    end_of(one).addCallback(ended.append)
    assert ended == []
    one.addErrback(lambda _: None)
    one.callback(result)
    assert ended == [None]


@pytest.mark.parametrize("mine", [branch, end_of])
def test_who_gives_up_gives_up_alone(mine: object) -> None:
    one: Deferred[int] = Deferred()
    got: list[object] = []
    waiting = mine(one)  # type: ignore[operator]
    waiting.addErrback(lambda failure: got.append(failure.type))
    waiting.cancel()
    assert got == [CancelledError]
    one.addCallback(got.append)
    one.callback(7)
    assert got == [CancelledError, 7]


class Port:
    """A port that stops as it was told to: at once, or when its Deferred fires."""

    def __init__(self, stopping: Deferred[None] | None) -> None:
        self.stopping = stopping

    def stopListening(self) -> Deferred[None] | None:
        return self.stopping


def test_a_port_may_stop_at_once_or_later() -> None:
    done: list[object] = []
    later: Deferred[None] = Deferred()
    for stopping in (None, later):
        Deferred.fromCoroutine(stopped(Port(stopping))).addCallback(done.append)  # type: ignore[arg-type]
    assert done == [None]
    later.callback(None)
    assert done == [None, None]
