"""
Plans, and what was found of them, as JSON. A peer may send anything: what does not have exactly the expected form is refused.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import fields, has

from nbdtun.errors import ProtocolViolation
from nbdtun.migration.finding import Finding
from nbdtun.spawn.values import Found, Plan

Json = dict[str, Any]

#: The most items of a list, characters of a text, and the range of a number.
MOST, LONGEST, LARGEST = 4096, 64 * 1024, 1 << 63

T = TypeVar("T")


def to_json(value: Plan | Found) -> Json:
    """Return the JSON object of a value."""
    told: Json = _told(value)
    return told


def plan_of(told: Json) -> Plan:
    """
    Read a plan.

    :raise ProtocolViolation: it is none.
    """
    return _read(Plan, told)


def found_of(told: Json) -> Found:
    """
    Read what the far end has found.

    :raise ProtocolViolation: it is none.
    """
    return _read(Found, told)


def _read(kind: type[T], told: object) -> T:
    try:
        value: T = _made(kind, told, kind.__name__.lower())
    except ValueError as error:
        raise ProtocolViolation(f"the other end has sent no valid {kind.__name__.lower()}: {error}") from None
    return value


def _told(value: Any) -> Any:
    if has(type(value)):
        return {each.name: _told(getattr(value, each.name)) for each in fields(type(value))}
    if isinstance(value, tuple):
        return [_told(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _told(each) for name, each in value.items()}
    return value.value if isinstance(value, enum.Enum) else value


def _made(kind: Any, told: Any, where: str) -> Any:
    """The value of type ``kind`` that ``told`` stands for; :exc:`ValueError` says ``where`` it is wrong."""
    if has(kind):
        return _made_object(kind, told, where)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(told, list) and len(told) <= MOST:
        return tuple(_made(inner[0], each, f"{where}[{number}]") for number, each in enumerate(told))
    if origin is not None and issubclass(origin, Mapping) and isinstance(told, dict) and len(told) <= MOST:
        return {_made(str, name, where): _made(inner[1], each, f"{where}.{name:.40}") for name, each in told.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and isinstance(told, str):
        return kind(told)  # its ValueError names the wrong one
    if kind in (str, int, bool) and type(told) is kind and _is_bounded(told):
        return told
    raise ValueError(f"{where} is wrong")


def _made_object(kind: Any, told: Any, where: str) -> Any:
    known = {each.name for each in fields(kind)}
    if not isinstance(told, dict) or told.keys() != known:
        raise ValueError(f"{where} does not have the fields {', '.join(sorted(known))}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _made(hints[name], told[name], f"{where}.{name}") for name in known})


def _is_bounded(value: str | int) -> bool:
    return len(value) <= LONGEST and "\0" not in value if isinstance(value, str) else -LARGEST < value < LARGEST


assert has(Finding)  # its check is text, so that a newer far end may have findings of its own
