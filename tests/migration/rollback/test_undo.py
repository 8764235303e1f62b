from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MonitorLost
from nbdtun.migration.rollback.undo import UndoStack


class Steps:
    """Undoes that note that they were called, and then do what they were told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.done: list[str] = []
        self.stack = UndoStack(self.clock, 10)

    def push(self, what: str, then: Any = None) -> None:
        async def undo() -> None:
            self.done.append(what)
            if isinstance(then, Exception):
                raise then
            if isinstance(then, Deferred):
                await then

        self.stack.push(what, undo)

    def unwind(self) -> list[Any]:
        got: list[Any] = []
        Deferred.fromCoroutine(self.stack.unwind()).addBoth(got.append)
        return got


def test_last_first_and_once() -> None:
    steps = Steps()
    steps.push("one")
    steps.push("two")
    assert repr(steps.stack) == "<UndoStack one, two>"
    assert steps.unwind() == [[]]
    assert steps.done == ["two", "one"]
    assert steps.unwind() == [[]]
    assert repr(steps.stack) == "<UndoStack empty>"


def test_one_that_fails_hinders_no_other_and_is_told() -> None:
    steps = Steps()
    steps.push("sweep the floor")
    steps.push("wash up", ValueError("no water"))
    assert steps.unwind() == [["could not wash up: no water"]]
    assert steps.done == ["wash up", "sweep the floor"]


def test_one_that_was_broken_off_has_a_reason_too() -> None:
    steps = Steps()
    steps.push("wash up", CancelledError())
    assert steps.unwind() == [["could not wash up: it was interrupted"]]


def test_one_that_takes_too_long_is_given_up() -> None:
    steps = Steps()
    steps.push("sweep the floor")
    steps.push("wait for rain", Deferred())
    got = steps.unwind()
    steps.clock.advance(9)
    assert not got
    steps.clock.advance(1)
    assert got == [["could not wait for rain: not done within 10 s"]]
    assert steps.done[-1] == "sweep the floor"


def test_a_qemu_that_has_ended_keeps_nothing() -> None:
    steps = Steps()
    steps.push("remove a node", MonitorLost("gone"))
    assert steps.unwind() == [[]]


def test_nothing_is_undone_past_the_point_of_no_return() -> None:
    steps = Steps()
    steps.push("one")
    steps.stack.forget()
    assert steps.unwind() == [[]]
    assert steps.done == []
