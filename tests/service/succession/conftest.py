"""The first process of a daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_twisted

from nbdtun.service.local import heritage
from tests.service.succession.stage import Process


@pytest_twisted.async_yield_fixture
async def first(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process("first", tmp_path / "s")
    yield process
    await process.stop()
    heritage.renounce()
