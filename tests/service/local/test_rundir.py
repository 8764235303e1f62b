"""Run directories: made for one process and one owner, and gone with them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbdtun.config import Owner
from nbdtun.errors import ConfigError
from nbdtun.ownership.reach import Credentials
from nbdtun.service.local.rundir import RunDir, give_to_qemu


@pytest.fixture
def base() -> Iterator[Path]:
    """A path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        yield Path(name) / "run"


def entries(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir())


def test_nothing_is_made_before_it_is_asked_for(base: Path) -> None:
    unused = RunDir(str(base))
    unused.remove()
    assert not base.exists()


def test_it_is_private_and_goes_away(base: Path) -> None:
    mine = RunDir(str(base))
    path = Path(mine.socket("nbd"))
    assert path.name == "nbd"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.touch()
    mine.subdirectory("session").joinpath("ram").touch()
    mine.remove()
    assert entries(base) == []


def test_it_is_where_the_user_that_the_process_has_become_may_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made_as_root = RunDir()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4711")
    assert made_as_root.base == Path("/run/user/4711/nbdtun")


def test_qemus_user_can_pass_whatever_the_umask(base: Path) -> None:
    umask = os.umask(0o077)
    try:
        mine = RunDir(str(base / "deep"))
        assert [stat.S_IMODE(made.stat().st_mode) for made in (base, base / "deep", mine.path)] == [0o711, 0o711, 0o700]
    finally:
        os.umask(umask)
    mine.remove()


def test_two_at_once_do_not_meet(base: Path) -> None:
    one, other = RunDir(str(base)), RunDir(str(base))
    assert one.path != other.path
    assert len(entries(base)) == 2
    one.remove()
    assert other.path.exists()
    other.remove()


def test_what_a_killed_process_left_is_cleared(base: Path) -> None:
    living = RunDir(str(base))
    living.path.joinpath("used").touch()
    dead = base / "nbdtun-dead"
    dead.mkdir()
    dead.joinpath("nbd").touch()
    strange = base / "somebody-elses"
    strange.mkdir()
    mine = RunDir(str(base))
    assert mine.path.exists()
    assert entries(base) == sorted([living.path.name, mine.path.name, strange.name])
    assert living.path.joinpath("used").exists()


def test_it_is_cleared_by_who_needs_no_directory_too(base: Path) -> None:
    RunDir(str(base)).sweep()  # there is no such place yet
    base.mkdir()
    (base / "nbdtun-dead").mkdir()
    RunDir(str(base)).sweep()
    assert entries(base) == []


def test_where_it_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="choose another with --run-dir"):
        RunDir(str(file)).socket("nbd")


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 107"):
        RunDir(str(tmp_path / ("x" * 60))).socket("nbd")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
class TestOwner:
    """Directories that QEMU's user can use."""

    def test_given_to_the_one_that_was_named(self, base: Path) -> None:
        mine = RunDir(str(base), Owner(65534, 65534))
        give_to_qemu(mine, Credentials(1, 1000, 1000))
        assert (mine.path.stat().st_uid, stat.S_IMODE(mine.path.stat().st_mode)) == (0, 0o711)
        assert mine.owner == (65534, 65534)
        assert base.stat().st_uid == 0
        assert stat.S_IMODE(base.stat().st_mode) == 0o711

    def test_else_to_the_user_behind_the_monitor(self, base: Path) -> None:
        mine = RunDir(str(base))
        assert mine.path.stat().st_uid == 0
        assert stat.S_IMODE(mine.path.stat().st_mode) == 0o700
        give_to_qemu(mine, Credentials(1, 1000, 1000))
        assert (mine.path.stat().st_uid, stat.S_IMODE(mine.path.stat().st_mode)) == (0, 0o711)
        assert mine.owner == (1000, 1000)

    def test_a_directory_of_each_session_for_its_own(self, base: Path) -> None:
        mine = RunDir(str(base))
        made = [mine.subdirectory(name, mine.owner_for(Credentials(1, uid, uid))) for name, uid in (("1", 1000), ("2", 1001), ("3", 0))]
        assert [(path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) for path in made] == [(1000, 0o700), (1001, 0o700), (0, 0o700)]
        assert (mine.path.stat().st_uid, stat.S_IMODE(mine.path.stat().st_mode)) == (0, 0o711)
        (made[0] / "link").symlink_to("/etc")
        mine.remove()
        assert entries(base) == []
        assert Path("/etc/passwd").exists()

    def test_or_to_nobody(self, base: Path) -> None:
        mine = RunDir(str(base))
        give_to_qemu(mine, Credentials(1, 0, 0))
        assert mine.owner is None
