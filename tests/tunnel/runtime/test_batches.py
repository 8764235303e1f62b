"""Timers in batches: never early, few, and none spoils another."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from nbdtun.tunnel.runtime.batches import CHUNK, Batches


@pytest.mark.parametrize("start", [0.0, 0.4, 0.999])
@pytest.mark.parametrize("delay", [0.1, 1.0, 1.5, 5.0])
def test_a_call_is_never_early_and_at_most_a_second_late(start: float, delay: float) -> None:
    clock = Clock()
    clock.advance(start)
    called: list[float] = []
    Batches(clock).call_later(delay, lambda: called.append(clock.seconds()))
    for _ in range(80):
        clock.advance(0.1)
    assert len(called) == 1
    assert -0.01 <= called[0] - start - delay <= 1.11  # the clock goes in steps of a tenth


def test_what_is_due_in_the_same_second_has_one_timer() -> None:
    clock = Clock()
    batches = Batches(clock)
    called: list[int] = []
    for number in range(10):
        batches.call_later(1.0 + number / 20, called.append, number)
    assert len(clock.getDelayedCalls()) == 2  # one at 1 s, the others at 2 s
    clock.pump([1.0, 1.0])
    assert called == list(range(10))
    assert clock.getDelayedCalls() == []
    assert repr(batches) == "<Batches 0>"


class Turns(Clock):
    """Counts how often it was asked for a turn."""

    turns = 0

    def callLater(self, *arguments: Any, **options: Any) -> Any:
        self.turns += 1
        return super().callLater(*arguments, **options)


def test_many_calls_let_the_reactor_breathe() -> None:
    clock = Turns()
    batches = Batches(clock)
    called: list[int] = []
    for number in range(2 * CHUNK + 1):
        batches.call_later(1.0, called.append, number)
    clock.advance(1.0)
    assert called == list(range(2 * CHUNK + 1))
    assert clock.turns == 3


def test_a_call_may_ask_for_another_in_the_same_second() -> None:
    clock = Clock()
    batches = Batches(clock)
    called: list[float] = []
    batches.call_later(1.0, lambda: batches.call_later(0.0, lambda: called.append(clock.seconds())))
    clock.pump([1.0, 0.0])
    assert called == [1.0]


def test_one_that_fails_is_logged_and_the_others_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    batches = Batches(clock)
    told: list[str] = []
    monkeypatch.setattr(Batches.log, "failure", told.append)
    called: list[int] = []
    batches.call_later(1.0, lambda: 1 / 0)
    batches.call_later(1.0, called.append, 1)
    clock.advance(1.0)
    assert called == [1]
    assert told == ["a timer of the tunnel failed"]
