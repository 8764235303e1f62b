"""nbdtun's own directories are not the machine's while tests run, and a test that leaves something there is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.service.local.base import default_base
from nbdtun.service.local.outcomes import state_dir
from tests.places import _hidden, left, places


@pytest.fixture
def own() -> list[Path]:
    """The directories of this process."""
    if not (found := places()):
        pytest.skip("mount namespaces take CAP_SYS_ADMIN")
    return found


def test_they_are_those_that_nbdtun_uses(own: list[Path]) -> None:
    assert own == [default_base(), state_dir(None)]


def test_what_is_left_is_told_and_removed(own: list[Path]) -> None:
    for place in own:
        (place / "receive").mkdir(parents=True)
        (place / "receive/web1.sock").touch()
    assert list(left()) == [f"{place}/receive/web1.sock" for place in own]
    assert list(left()) == []
    assert all(place.is_dir() and not list(place.iterdir()) for place in own if place.exists())


@pytest.mark.skipif(os.geteuid() != 0, reason="others' directories are their environment's")
def test_the_machine_does_not_see_them(own: list[Path]) -> None:
    """A mount that is shared would be the machine's, too (proc_pid_mountinfo(5))."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in own:
        *_, fields = (mount for mount in mounts if mount[4] == f"{place}")  # pytest and its worker have one each
        assert "nbdtun-tests" in fields
        assert not any(field.startswith("shared:") for field in fields)


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root")
def test_an_nbdtun_on_the_machine_does_not_take_them_away(own: list[Path]) -> None:
    """It would remove the directory below, if that were empty."""
    for machine in _hidden.values():
        assert f".tests-{os.getpid()}" in os.listdir(machine)
