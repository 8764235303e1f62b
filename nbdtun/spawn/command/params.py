"""
The value of an option as keys and values: ``key=value,key=value``, where a comma in a value is doubled; or JSON, for some options.

The first value may stand without its key, and a key without a value is a flag: ``-machine q35,accel=kvm``, ``-chardev socket,...,server``.
What is not changed is written as it was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

from attrs import evolve, field, frozen

from nbdtun.errors import ConfigError

Scalar = str | int | float | bool | None
Step = str | int

TRUE, FALSE = frozenset({"on", "yes", "true", "y"}), frozenset({"off", "no", "false", "n"})


@frozen
class Pair:
    """
    A key, as the steps to it in JSON, and its value. ``bare``: it is a flag, or the first value, without the other half.

    In JSON, an empty object or list is a value too.
    """

    path: tuple[Step, ...]
    value: Any
    bare: bool = False

    @property
    def key(self) -> str:
        """The steps as a dotted key."""
        return ".".join(map(str, self.path))

    @property
    def text(self) -> str:
        """The value as ``key=value`` has it."""
        if isinstance(self.value, bool):
            return "on" if self.value else "off"
        return "" if self.value is None else str(self.value)


@frozen
class Params:
    """The pairs of one value. ``first`` is the key of a first value without one. Later pairs of the same key win, as in QEMU."""

    pairs: tuple[Pair, ...] = ()
    first: str = ""
    is_json: bool = field(default=False)

    @classmethod
    def read(cls, text: str, first: str = "", may_be_json: bool = False) -> Self:
        """
        Read a value.

        :raise ConfigError: it should be JSON and is not.
        """
        if may_be_json and text.startswith("{"):
            return cls(tuple(_flat((), _object(text))), first, True)
        return cls(tuple(_pairs(text, first)), first)

    def __str__(self) -> str:
        if self.is_json:
            return json.dumps(_nested(self.pairs))
        return ",".join(self._written(number, pair) for number, pair in enumerate(self.pairs))

    def __contains__(self, key: str) -> bool:
        return any(pair.key == key for pair in self.pairs)

    def get(self, key: str, otherwise: str = "") -> str:
        """The value of ``key`` as text; a flag that is on is ``on``."""
        return next((pair.text for pair in reversed(self.pairs) if pair.key == key), otherwise)

    def is_on(self, key: str, otherwise: bool = False) -> bool:
        """The value of a flag."""
        value = self.get(key)
        return value in TRUE if value in TRUE | FALSE else otherwise

    def keys(self) -> Iterator[str]:
        """All keys, in their order."""
        return (pair.key for pair in self.pairs)

    def below(self, prefix: str) -> Iterator[tuple[str, str]]:
        """All keys that begin with ``prefix``, and their values."""
        return ((pair.key, pair.text) for pair in self.pairs if pair.key.startswith(prefix))

    def set(self, key: str, value: Scalar) -> Self:
        """The same with another value of ``key``, in its place, or else at the end."""
        if key not in self:
            return evolve(self, pairs=(*self.pairs, Pair(tuple(key.split(".")) if self.is_json else (key,), self._fit(value))))
        kept = [
            evolve(pair, value=self._fit(value), bare=pair.bare and key == self.first) if pair.key == key else pair for pair in self.pairs
        ]
        return evolve(self, pairs=tuple(kept))

    def put_first(self, key: str, value: Scalar) -> Self:
        """The same with ``key`` as the first."""
        return evolve(self, pairs=(Pair((key,), self._fit(value), key == self.first), *self.drop(key).pairs))

    def drop(self, *keys: str) -> Self:
        """The same without these keys, and without those below them."""
        kept = [pair for pair in self.pairs if not any(f"{pair.key}.".startswith(f"{key}.") for key in keys)]
        return evolve(self, pairs=tuple(kept))

    def _fit(self, value: Scalar) -> Scalar:
        """JSON keeps types; all others are text."""
        return value if self.is_json else Pair((), value).text

    def _written(self, number: int, pair: Pair) -> str:
        value = pair.text.replace(",", ",,")
        if pair.bare and number == 0 and pair.key == self.first and "=" not in pair.text:
            return value
        if pair.bare and pair.key != self.first:
            return pair.key if pair.text == "on" else f"no{pair.key}"
        return f"{pair.key}={value}"


def _pairs(text: str, first: str) -> Iterator[Pair]:
    """As QEMU's ``opts_do_parse`` does it."""
    at, begun = 0, True
    while at < len(text):
        end = min((found for found in (text.find(mark, at) for mark in "=,") if found >= 0), default=len(text))
        if text[end : end + 1] == "=":
            value, after = _value(text, end + 1)
            yield Pair((text[at:end],), value)
        elif begun and first:
            value, after = _value(text, at)
            yield Pair((first,), value, True)
        else:
            name, after = text[at:end], end
            off = name.startswith("no")
            yield Pair((name[2:] if off else name,), "off" if off else "on", True)
        at, begun = after + 1, False


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that begins at ``at``, and where it ends: before a comma that is not doubled."""
    found = []
    while at < len(text):
        if text[at] == ",":
            if text[at + 1 : at + 2] != ",":
                break
            at += 1
        found.append(text[at])
        at += 1
    return "".join(found), at


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConfigError("a value that begins as JSON does is not a JSON object")
    return value


def _flat(path: tuple[Step, ...], value: Any) -> Iterator[Pair]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat((*path, name), inner)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _flat((*path, number), inner)
    elif path:
        yield Pair(path, value)


def _nested(pairs: tuple[Pair, ...]) -> Any:
    """The object that the pairs were made of; a dropped item of a list leaves no hole."""
    grouped: dict[Step, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(pair.path[0], []).append(evolve(pair, path=pair.path[1:]))
    made = {step: inner[-1].value if not inner[-1].path else _nested(tuple(p for p in inner if p.path)) for step, inner in grouped.items()}
    return list(made.values()) if made and all(isinstance(step, int) for step in made) else made
