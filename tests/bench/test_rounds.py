"""Rounds: each subject once in each, and none always first."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bench.rounds import interleaved


def test_each_round_begins_with_another_one() -> None:
    assert list(interleaved("abc", 2)) == [(1, "a"), (1, "b"), (1, "c"), (2, "b"), (2, "c"), (2, "a")]


@given(st.integers(0, 12), st.integers(1, 9))
def test_every_subject_comes_once_a_round(subjects: int, rounds: int) -> None:
    turns = Counter(interleaved(range(subjects), rounds))
    assert turns == Counter({(number + 1, subject): 1 for number in range(rounds) for subject in range(subjects)})
