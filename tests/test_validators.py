"""Bounds of settings, and the line for what is out of them."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import field, frozen

from nbdtun.errors import ConfigError
from nbdtun.units import duration_text
from nbdtun.validators import between, positive


@frozen(kw_only=True)
class Settings:
    max_size: int | None = field(default=None, validator=positive())
    total: float | None = field(default=None, validator=positive("{} timeout"))
    link_timeout: float = field(default=1.0, validator=between(0.1, 60, duration_text))


def test_what_is_in_bounds_is_taken() -> None:
    Settings()
    Settings(max_size=1, total=0.1, link_timeout=0.1)
    Settings(link_timeout=60)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"max_size": 0}, "max size must be more than 0, not 0"),
        ({"total": -0.5}, "total timeout must be more than 0, not -0.5"),
        ({"link_timeout": 0.0}, "link-timeout: 0 ms is not between 100 ms and 1 min"),
        ({"link_timeout": 61.0}, "link-timeout: 1 min 1 s is not between 100 ms and 1 min"),
    ],
)
def test_what_is_not_is_one_line(wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(**wrong)
    assert str(caught.value) == line
