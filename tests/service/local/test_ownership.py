"""Nobody else can put his own directory in the place of ours, whatever he has prepared in /tmp."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.service.local import ownership
from nbdtun.service.local.ownership import check

MALLORY = 4711
NOBODY = 65534

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of root's in /tmp."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        yield Path(name)


def mallorys(path: Path) -> Path:
    os.chown(path, MALLORY, MALLORY, follow_symlinks=False)
    return path


def made(path: Path) -> Path:
    path.mkdir()
    return path


def refused(path: Path, *trusted: int) -> str:
    with pytest.raises(ConfigError) as caught:
        check(path, trusted)
    return caught.value.line


def test_one_of_our_own_below_a_sticky_one(place: Path) -> None:
    check(made(place / "run"), ())


def test_one_that_is_not_there_yet(place: Path) -> None:
    check(place / "run" / "deep", ())
    assert "belongs to uid 4711" in refused(mallorys(made(place / "his")) / "run" / "deep")


def test_one_that_somebody_has_made_before(place: Path) -> None:
    his = mallorys(made(place / "run"))
    assert refused(his) == (f"run directory {his}: {his} belongs to uid 4711, who could replace what is in it [config]")
    check(his, (MALLORY,))  # as QEMU's user is trusted


def test_one_that_lies_in_somebody_elses(place: Path) -> None:
    mine = made(mallorys(made(place / "his")) / "run")
    assert f"{place}/his belongs to uid 4711" in refused(mine)


def test_one_behind_somebody_elses_link(place: Path) -> None:
    (place / "run").symlink_to(made(place / "mine"))
    check(place / "run", ())
    assert f"{place}/run belongs to uid 4711" in refused(mallorys(place / "run"))


def test_a_link_into_somebody_elses(place: Path) -> None:
    (place / "run").symlink_to(made(mallorys(made(place / "his")) / "run"))
    assert f"{place}/his belongs to uid 4711" in refused(place / "run")


def test_one_that_everybody_may_write_to(place: Path) -> None:
    run = made(place / "run")
    run.chmod(0o777)
    assert f"everybody may replace what is in {run} (it is not sticky)" in refused(run)
    run.chmod(0o1777)
    check(run, ())


def test_root_itself_may_be_unknown_in_a_namespace(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = made(place / "run")
    os.chown(roots, NOBODY, NOBODY)
    refused(roots)
    (place / "map").write_text("         0       1000          1\n")
    monkeypatch.setattr(ownership, "_UID_MAP", place / "map")
    check(roots, ())
