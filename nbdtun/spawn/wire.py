"""
Plans, and what was found of them, as JSON. A peer may send anything: what does not have exactly the expected form is refused.
"""

from __future__ import annotations

from typing import Any, TypeVar

from nbdtun.errors import ProtocolViolation
from nbdtun.spawn.values import Found, Plan
from nbdtun.typed import as_json, of_json

Json = dict[str, Any]

T = TypeVar("T")


def to_json(value: Plan | Found) -> Json:
    """Return the JSON object of a value."""
    return as_json(value)


def plan_of(told: Json) -> Plan:
    """
    Read a plan.

    :raise ProtocolViolation: it is none.
    """
    return _read(Plan, told)


def found_of(told: Json) -> Found:
    """
    Read what the far end has found; a finding's check is text, so that a newer far end may have findings of its own.

    :raise ProtocolViolation: it is none.
    """
    return _read(Found, told)


def _read(kind: type[T], told: object) -> T:
    try:
        return of_json(kind, told)
    except ValueError as error:
        raise ProtocolViolation(f"the other end has sent no valid {kind.__name__.lower()}: {error}") from None
