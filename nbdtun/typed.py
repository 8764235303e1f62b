"""
Frozen values as JSON, between two ends or for a later process. Whoever wrote it may have written anything: what does not have exactly the
expected form is refused. Only a ``lenient`` reader, of what another release may have written down, passes over fields that it does not
know, and gives one that is missing its default.

A class has only fields of texts, numbers, truths, enumerations, bytes (in hexadecimal), other such classes, and tuples and mappings of
these.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import NOTHING, fields, has

#: The most items of a list, characters of a text, and the range of a number.
MOST, LONGEST, LARGEST = 4096, 256 * 1024, 1 << 63

T = TypeVar("T")


def as_json(value: Any) -> dict[str, Any]:
    """Return the JSON object of a value."""
    told: dict[str, Any] = _told(value)
    return told


def of_json(kind: type[T], told: object, *, lenient: bool = False) -> T:
    """
    Read a value of the class ``kind``; ``lenient``: with its fields of another release.

    :raise ValueError: it is none; the text says where.
    """
    value: T = _made(kind, told, kind.__name__.lower(), lenient)
    return value


def _told(value: Any) -> Any:
    if has(type(value)):
        return {each.name: _told(getattr(value, each.name)) for each in fields(type(value))}
    if isinstance(value, tuple):
        return [_told(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _told(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    return value.value if isinstance(value, enum.Enum) else value


def _made(kind: Any, told: Any, where: str, lenient: bool) -> Any:
    """The value of type ``kind`` that ``told`` stands for; :exc:`ValueError` says ``where`` it is wrong."""
    if has(kind):
        return _made_object(kind, told, where, lenient)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(told, list) and len(told) <= MOST:
        return tuple(_made(inner[0], each, f"{where}[{number}]", lenient) for number, each in enumerate(told))
    if origin is not None and issubclass(origin, Mapping) and isinstance(told, dict) and len(told) <= MOST:
        return {_made(str, name, where, lenient): _made(inner[1], each, f"{where}.{name:.40}", lenient) for name, each in told.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and isinstance(told, str):
        return kind(told)  # its ValueError names the wrong one
    if kind in (str, int, bool) and type(told) is kind and _is_bounded(told):
        return told
    if kind is bytes and isinstance(told, str) and _is_bounded(told):
        return _unhexed(told, where)
    raise ValueError(f"{where} is wrong")


def _made_object(kind: Any, told: Any, where: str, lenient: bool) -> Any:
    known = {each.name for each in fields(kind)}
    needed = {each.name for each in fields(kind) if each.default is NOTHING} if lenient else known
    if not isinstance(told, dict) or not needed <= told.keys() or not (lenient or told.keys() <= known):
        raise ValueError(f"{where} does not have the fields {', '.join(sorted(needed))}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _made(hints[name], told[name], f"{where}.{name}", lenient) for name in known & told.keys()})


def _unhexed(told: str, where: str) -> bytes:
    try:
        return bytes.fromhex(told)
    except ValueError:  # its text quotes a character, perhaps of a secret
        raise ValueError(f"{where} is wrong") from None


def _is_bounded(value: str | int) -> bool:
    return len(value) <= LONGEST and "\0" not in value if isinstance(value, str) else -LARGEST < value < LARGEST
