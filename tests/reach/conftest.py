from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted

from tests.reach.stage import FakeReceiver, FakeSSH


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSSH:
    """Takes ssh's place."""
    return FakeSSH(tmp_path, monkeypatch)


@pytest_twisted.async_yield_fixture
async def receiver(ssh: FakeSSH, base: Path) -> AsyncIterator[FakeReceiver]:
    """Is at the far end of that ssh."""
    one = FakeReceiver(base)
    await one.open()
    yield one
    await one.close()


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory with a short name, for a socket."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        yield Path(name)
