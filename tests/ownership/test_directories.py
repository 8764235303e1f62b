"""Directories of our own: nobody's links are followed when they are made, given away or removed."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.ownership import directories
from nbdtun.ownership.directories import DEEPEST, locked, make_directories, make_if_missing, make_private, make_within, opened, remove_tree
from nbdtun.service.local.rundir import RunDir


def test_made_for_everybody_to_pass(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        make_directories(f"{tmp_path}/a/b")
        make_directories(f"{tmp_path}/a/b")
    finally:
        os.umask(umask)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o711, 0o711]


def test_a_lock_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any user who can read a directory can keep it locked."""
    monkeypatch.setattr(directories, "PATIENCE", 0.02)
    with locked(str(tmp_path)), pytest.raises(BlockingIOError, match="another process keeps it locked"), locked(str(tmp_path)):
        pass
    with locked(str(tmp_path)):
        pass


def test_nor_that_of_a_run_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "PATIENCE", 0.02)
    short = tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp")  # enough for the paths of sockets
    refused = pytest.raises(ConfigError, match="another process keeps it locked; choose another with --run-dir")
    with short as place, locked(place), refused:
        _ = RunDir(place).path


def test_private_ones_have_names_of_their_own(tmp_path: Path) -> None:
    with opened(str(tmp_path)) as parent:
        for _ in range(2):
            name, made = make_private(parent, "x-")
            assert os.path.samestat(os.fstat(made), (tmp_path / name).stat())
            assert stat.S_IMODE(os.fstat(made).st_mode) == 0o700
            os.close(made)
    assert len(os.listdir(tmp_path)) == 2


def test_another_in_the_place_of_a_private_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its parent's owner can have it between two calls."""
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "other/root's").touch()
    mkdir = os.mkdir

    def swapped(name: str, mode: int, *, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.rename(tmp_path / "other", name, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swapped)
    match = "another process has put a different directory in its place"
    with opened(str(tmp_path)) as parent, pytest.raises(PermissionError, match=match):
        make_private(parent, "x-")


def test_a_link_in_the_place_of_one_that_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with opened(str(tmp_path)) as parent:
        os.close(make_if_missing(parent, "there"))
        os.close(make_if_missing(parent, "new"))
        with pytest.raises(NotADirectoryError):
            make_if_missing(parent, "link")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_given_to_its_owner(tmp_path: Path) -> None:
    with opened(str(tmp_path)) as parent:
        make_within(parent, "his", (4711, 4712))
    found = (tmp_path / "his").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4711, 4712, 0o700)


def test_what_links_lead_to_stays(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (tmp_path / "run/1/deep").mkdir(parents=True)
    (tmp_path / "run/1/link").symlink_to(tmp_path / "precious")
    (tmp_path / "run/1/deep/file").symlink_to(tmp_path / "precious/file")
    remove_tree(f"{tmp_path}/run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").symlink_to("precious")
    remove_tree(f"{tmp_path}/run")
    assert (tmp_path / "precious/file").exists()
    remove_tree(f"{tmp_path}/none/run")


def test_there_is_an_end_to_depth(tmp_path: Path) -> None:
    (tmp_path / "run" / "/".join("d" * (DEEPEST + 3))).mkdir(parents=True)
    remove_tree(f"{tmp_path}/run")
    assert (tmp_path / "run").exists()
