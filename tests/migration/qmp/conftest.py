"""Fixtures of the tests of monitors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="nt-") as directory:
        yield f"{directory}/qmp"
