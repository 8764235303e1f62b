"""
State machines: one notation for every object with a few states. No I/O.

A table, :class:`Transitions`, stands beside the class whose states it declares. Each object of that class has a :class:`Life`, and nothing
else changes its state. A frozen value has no life, and asks the table for the state that the next value has. docs/states prints the
tables, and tests/test_states.py checks that they are complete.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Set
from typing import Generic, TypeVar

from attrs import frozen

S = TypeVar("S", bound=enum.Enum)
T = TypeVar("T", bound=enum.Enum)


class ImpossibleTransition(AssertionError):
    """A bug in nbdtun: a trigger came in a state in which it cannot happen."""


@frozen
class Transitions(Generic[S, T]):
    """
    The table: ``rows`` says for each state which triggers lead to which state. A state may lead to itself, where a trigger is answered but
    changes nothing. A state that leads nowhere else is an end.

    A trigger that is not in a state's row is ``impossible`` there (only a bug of ours causes it), ``ignored`` (it may come at any time), or
    ``refused`` (the other end may ask for it at any time, and gets an error).
    """

    start: S
    rows: Mapping[S, Mapping[T, S]]
    impossible: Set[T] = frozenset()
    ignored: Set[T] = frozenset()
    refused: Set[T] = frozenset()

    @property
    def ends(self) -> frozenset[S]:
        """The states that are never left."""
        return frozenset(state for state, row in self.rows.items() if set(row.values()) <= {state})

    def after(self, state: S, trigger: T) -> S:
        """
        The state that follows ``state``.

        :raise ImpossibleTransition: ``trigger`` leads nowhere from there.
        """
        after = self.rows[state].get(trigger)
        if after is None:
            raise ImpossibleTransition(f"{trigger.value} cannot happen in the state {state.value}")
        return after

    def lines(self) -> Iterator[tuple[str, str]]:
        """The table as text: each state with its triggers, then the effect of the other triggers."""
        for state, row in self.rows.items():
            moves = [f"{trigger.value} → {after.value}" for trigger, after in row.items()]
            yield state.value, ", ".join([*moves, *(["(the end)"] if state in self.ends else [])])
        for what in ("impossible", "ignored", "refused"):
            if triggers := getattr(self, what):
                yield f"elsewhere {what}", ", ".join(sorted(trigger.value for trigger in triggers))


class Life(Generic[S, T]):
    """The state of one object, within its ``transitions``."""

    __slots__ = ("_transitions", "state")

    def __init__(self, transitions: Transitions[S, T]) -> None:
        self._transitions = transitions
        self.state = transitions.start

    def __repr__(self) -> str:
        return f"<Life {self.state.value}>"

    def advance(self, trigger: T, refusal: Exception | None = None) -> bool:
        """
        ``trigger`` has happened; returns whether that changed the state.

        :raise ImpossibleTransition: the table does not allow it here.
        :raise Exception: ``refusal``, where the table has the trigger as refused.
        """
        before = self.state
        after = self._transitions.rows[before].get(trigger)
        if after is None:
            self._stay(trigger, refusal)
            return False
        self.state = after
        return after is not before

    def _stay(self, trigger: T, refusal: Exception | None) -> None:
        if trigger in self._transitions.refused and refusal is not None:
            raise refusal
        if trigger not in self._transitions.ignored:
            raise ImpossibleTransition(f"{trigger.value} cannot happen in the state {self.state.value}")
