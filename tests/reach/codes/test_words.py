"""Codes for the telephone."""

from __future__ import annotations

import pytest

from nbdtun.reach.codes.words import FIRST, NUMBERS, SECOND, make_code, parse_code
from tests.config.stage import refused


def test_the_lists_are_as_long_as_is_said() -> None:
    assert len(set(FIRST)) == len(FIRST) == len(set(SECOND)) == len(SECOND) == 128
    assert not set(FIRST) & set(SECOND)
    assert NUMBERS * len(FIRST) * len(SECOND) > 1_600_000


def test_a_new_code_is_one() -> None:
    codes = {make_code() for _ in range(200)}
    assert len(codes) > 190
    assert {parse_code(code) for code in codes} == codes


@pytest.mark.parametrize("text", ["7-crossover-clockwork", " 7 Crossover CLOCKWORK\n", "7 - crossover - clockwork"])
def test_how_it_may_be_written(text: str) -> None:
    assert parse_code(text) == "7-crossover-clockwork"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not a code; one looks like 7-crossover-clockwork"),
        ("7-crossover", "'7-crossover' is not a code; one looks like 7-crossover-clockwork"),
        ("0-crossover-clockwork", "'0-crossover-clockwork' is not a code; one looks like 7-crossover-clockwork"),
        ("7-clockwork-crossover", "'7-clockwork-crossover' is not a code: none has the word 'clockwork' there; ask for it again"),
        ("7-crossover-clocwork", "'7-crossover-clocwork' is not a code: none has the word 'clocwork' there; did they say clockwork?"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    assert refused(parse_code, text) == why
