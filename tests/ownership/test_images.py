"""Files and directories that are made for a QEMU."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nbdtun.ownership.images import give, make_directory, make_file, make_marker, open_file, remove_left, remove_made, remove_marker

KEPT = (-1, -1)


def test_a_file_is_made_given_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    descriptor, made = make_file(str(path))
    give(descriptor, KEPT, 0o640)
    os.close(descriptor)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    remove_made(made)
    assert not path.exists()


def test_a_file_that_is_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    for name in ("a", "link"):
        with pytest.raises(FileExistsError):
            make_file(str(tmp_path / name))
    assert not (tmp_path / "b").exists()


def test_another_file_of_that_name_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    descriptor, made = make_file(str(path))
    os.close(descriptor)
    path.rename(tmp_path / "b")
    path.touch()
    remove_made(made)
    assert path.exists()


def test_a_file_is_opened_to_write(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    descriptor = open_file(str(tmp_path / "a"))
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == b"xbc"


def test_a_hard_link_of_another_users_is_not_opened(tmp_path: Path) -> None:
    """Root writes to it: the owner of the directory could have made it of any file."""
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    os.close(open_file(str(tmp_path / "b")))
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="hard link in another user's directory"):
        open_file(str(tmp_path / "b"))


def test_what_qemu_has_left(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "d").mkdir()
    for name in ("a", "d", "gone"):
        remove_left(str(tmp_path / name))
    assert os.listdir(tmp_path) == ["d"]


def test_a_directory_is_made(tmp_path: Path) -> None:
    make_directory(str(tmp_path / "d"), KEPT)
    assert (tmp_path / "d").is_dir()
    with pytest.raises(FileExistsError):
        make_directory(str(tmp_path / "d"), KEPT)


def test_a_marker(tmp_path: Path) -> None:
    make_marker(str(tmp_path), "m")
    assert os.listdir(tmp_path) == ["m"]
    with pytest.raises(FileExistsError):
        make_marker(str(tmp_path), "m")
    remove_marker(str(tmp_path), "m")
    assert os.listdir(tmp_path) == []
