"""Rounds: every subject once in each, so that what changes on the machine meanwhile meets all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def interleaved(subjects: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Each subject once a round, with the round's number from 1; each round begins with another one."""
    for number in range(rounds):
        turn = number % len(subjects) if subjects else 0
        for subject in (*subjects[turn:], *subjects[:turn]):
            yield number + 1, subject
