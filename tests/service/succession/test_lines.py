"""Three processes of a daemon: from the last to the first, where that between them is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted

from nbdtun.errors import MigrationError
from tests.service.succession.stage import Process, Running, accepts, kill, soon, succeeded


@pytest_twisted.ensureDeferred
async def test_one_in_the_middle_that_is_killed_leaves_no_place(first: Process, tmp_path: Path, said: list[str]) -> None:
    """Another process has it, and asks the first one from then on; only if that one is gone as well, it comes back."""
    path = tmp_path / "s"
    second = await succeeded(first, path)
    third = await succeeded(second, path)
    await soon()
    kill(second)
    await soon()
    assert await accepts(path) == b"second"  # so the third one is called
    assert os.getpid() not in first.did
    assert first.keeping.replaced_by == Running.pid
    assert said[-1] == "process 4822 is gone, through which lost links came back here: from now on they come through process 4822"
    with pytest.raises(MigrationError, match="this program was replaced"):
        await first.succession.replace()
    elder = third.keeping.earlier
    assert elder is not None
    assert (await elder.look(b"i" * 16, "none", "")).channel
    assert third.keeping.heard[-1] == first.keeping.users
    await third.stop()
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_the_place_comes_back_through_all_of_them(first: Process, tmp_path: Path) -> None:
    path = tmp_path / "s"
    second = await succeeded(first, path)
    third = await succeeded(second, path)
    await soon()
    for each in (third, second):
        each.listening._port.stopReading()
        assert each.keeping.earlier is not None
        each.keeping.earlier.hang_up()
        await soon()
    assert await accepts(path) == b"first"
    assert first.keeping.replaced_by is None
    await third.stop()
    await second.stop()
