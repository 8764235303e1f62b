"""Values as JSON: what is written is read again, and nothing else is read."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

import pytest
from attrs import field, frozen

from nbdtun.typed import LONGEST, MOST, as_json, of_json


class Colour(enum.StrEnum):
    RED = "red"


@frozen
class Inner:
    number: int = 0
    colour: Colour = Colour.RED


@frozen
class Outer:
    name: str
    inner: Inner = Inner()
    each: tuple[Inner, ...] = ()
    options: Mapping[str, int] = field(factory=dict)
    sure: bool = False
    raw: bytes = b""


VALUE = Outer("a", Inner(-3), (Inner(1), Inner(2)), {"x": 1}, True, b"\0\xff")


def test_a_value_is_read_as_it_was_written() -> None:
    assert of_json(Outer, json.loads(json.dumps(as_json(VALUE)))) == VALUE


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": 1}, "outer.name is wrong"),
        ({"name": "a\0b"}, "outer.name is wrong"),
        ({"name": "a" * (LONGEST + 1)}, "outer.name is wrong"),
        ({"sure": 1}, "outer.sure is wrong"),
        ({"raw": "a secret"}, "^outer.raw is wrong$"),
        ({"raw": 7}, "outer.raw is wrong"),
        ({"more": 1}, "outer does not have the fields each, inner, name, options, raw, sure"),
        ({"each": [{}]}, r"outer.each\[0\] does not have the fields"),
        ({"each": [as_json(Inner())] * (MOST + 1)}, "outer.each is wrong"),
        ({"inner": {"number": True, "colour": "red"}}, "outer.inner.number is wrong"),
        ({"inner": {"number": 1 << 63, "colour": "red"}}, "outer.inner.number is wrong"),
        ({"inner": {"number": 1, "colour": "blue"}}, "'blue' is not a valid Colour"),
        ({"options": {"x": "1"}}, "outer.options.x is wrong"),
    ],
)
def test_anything_else_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        of_json(Outer, as_json(VALUE) | changes)


def test_a_lenient_reader_knows_less_or_more_at_any_depth() -> None:
    told = {"name": "a", "later": [1], "inner": {"number": 2, "later": {}}, "each": [{}], "options": {"x": 1}}
    assert of_json(Outer, told, lenient=True) == Outer("a", Inner(2), (Inner(),), {"x": 1})
    for wrong in ({**told, "inner": {"number": "2"}}, {"later": 1}):
        with pytest.raises(ValueError, match=r"inner\.number is wrong|outer does not have the fields name$"):
            of_json(Outer, wrong, lenient=True)
