"""Fixtures of the tunnel's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.tls.stage.fixtures import directory, pair, talk, tls_dir
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.stage import Stage

__all__ = ["directory", "pair", "talk", "tls_dir"]


@pytest.fixture
def make_stage() -> Iterator[Callable[..., Stage]]:
    """Makes stages, and clears them away."""
    made: list[Stage] = []

    def make(*args: Any, **options: Any) -> Stage:
        made.append(Stage(*args, **options))
        return made[-1]

    yield make
    for stage in made:
        stage.cable.cut()
        for program in (*stage.near_programs, *stage.target.programs):
            program.close()


@pytest.fixture
def crank() -> Crank:
    return Crank()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """A stage on the usual terms, with a small window."""
    return make_stage()
