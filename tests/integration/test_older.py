"""This tree at one end, and at the other the oldest commit that it speaks with, in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab import crossing, daemon
from lab.crossing import Crossing
from lab.disks import MIB
from lab.older import missing, older
from lab.pair import Pair, Plan
from tests.integration.outcome import arrived

#: Since this commit a channel has a secret under TLS, and the versions say all the rest.
OLDEST = "37de044"


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if why := missing(OLDEST):
        pytest.skip(why)
    return older(OLDEST, tmp_path_factory.mktemp("older"))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_vm_moves_between_this_tree_and_an_old_one(
    pairs: Callable[..., Pair],
    crossings: Callable[..., Crossing],
    commands: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    """Its link is cut while its disk is copied, and while its memory is sent."""

    def begin() -> None:
        for module in (daemon, crossing):
            monkeypatch.setattr(module, "BIN", commands)

    pair = pairs(Plan(32 * MIB))
    if end == "destination":
        begin()
    over = crossings(pair, cable=True)
    monkeypatch.undo()
    if end == "source":
        begin()
    attempt = over.migrate("--bandwidth", "16MiB")
    attempt.wait_copied(4 * MIB)
    over.cable.cut()
    attempt.wait_phase("ram")
    over.cable.cut()
    assert attempt.wait_exit(150) == 0, attempt.log()
    assert attempt.last["link"]["resumes"] >= 2
    monkeypatch.undo()
    arrived(over)
