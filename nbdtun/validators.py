"""Limits of the numbers in settings, as validators for attrs. Errors give the attribute the name of its option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Attribute

from nbdtun.errors import ConfigError

Validator = Callable[[object, "Attribute[Any]", Any], None]


def positive(name: str = "{}") -> Validator:
    """More than 0, or None. Errors call the value ``name``, where ``{}`` stands for the attribute's own name."""

    def validate(_: object, attribute: Attribute[Any], value: float | None) -> None:
        if value is not None and value <= 0:
            raise ConfigError(f"{name.format(attribute.name.replace('_', ' '))} must be more than 0, not {value:g}")

    return validate


def between(least: float, most: float, text: Callable[[float], str]) -> Validator:
    """From ``least`` to ``most``; ``text`` formats them for errors."""

    def validate(_: object, attribute: Attribute[Any], value: float) -> None:
        if not least <= value <= most:
            option = attribute.name.replace("_", "-")
            raise ConfigError(f"{option}: {text(value)} is not between {text(least)} and {text(most)}")

    return validate
