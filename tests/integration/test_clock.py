"""A clock that is set while a VM moves, as libfaketime lets both of our processes see it; and the cable is pulled right after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from tests.integration.outcome import arrived


@pytest.fixture
def set_clock(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Sets the clock of all processes that are started from now on."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    offset = directory / "clock"
    offset.write_text("+0\n")
    monkeypatch.setenv("LD_PRELOAD", f"{library}")
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", f"{offset}")
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("DONT_FAKE_MONOTONIC", "1")
    return lambda seconds: offset.write_text(f"{seconds}\n")


@pytest.mark.parametrize("step", ["+3600s", pytest.param("-3600s", marks=pytest.mark.slow)])
def test_a_clock_that_is_set(pairs: Callable[..., Pair], request: pytest.FixtureRequest, step: str) -> None:
    pair = pairs(Plan(128 * MIB, filled=1.0))
    pair.source.wait_ticks(5)
    set_clock = request.getfixturevalue("set_clock")  # not before: the QEMUs keep theirs
    crossing: Crossing = request.getfixturevalue("crossings")(pair, cable=True)
    crossing.cable.slow(64.0 * MIB)
    attempt = crossing.migrate()
    attempt.wait_copied(32 * MIB)
    set_clock(step)
    crossing.cable.pull(2)
    assert attempt.wait_exit(60) == 0, attempt.log()
    arrived(crossing)
    assert 2 < attempt.last["elapsed"] < 60
    assert attempt.last["link"]["resumes"] > 0
