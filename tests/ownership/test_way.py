"""Ways: through the links that root and we have made, and through nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.ownership.way import is_ours, is_steady, open_directory, walked

MALLORY = 4711


def came_to(path: Path) -> tuple[int, int]:
    with walked(str(path)) as (parent, here):
        assert os.stat(".", dir_fd=parent).st_mode
        return os.fstat(here).st_dev, os.fstat(here).st_ino


def is_at(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def mallorys(path: Path) -> Path:
    os.chown(path, MALLORY, MALLORY, follow_symlinks=False)
    return path


def test_our_links_are_followed(place: Path) -> None:
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").touch()
    (place / "absolute").symlink_to(place / "a")
    (place / "relative").symlink_to("a/../a/./b")
    (place / "twice").symlink_to("absolute/b/")
    for way in ("a/b", "absolute/b", "relative", "twice"):
        assert came_to(place / way / "file") == is_at(place / "a/b/file")
    assert came_to(Path("/")) == is_at(Path("/"))


def test_what_is_not_there(place: Path) -> None:
    (place / "file").touch()
    for way in ("none", "none/file", "file/x"):
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            came_to(place / way)
    with pytest.raises(NotADirectoryError):
        open_directory(str(place / "file"))


def test_links_that_go_round(place: Path) -> None:
    (place / "round").symlink_to("round")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        came_to(place / "round")


def test_no_descriptor_is_left(place: Path) -> None:
    (place / "link").symlink_to(".")
    before = os.listdir("/proc/self/fd")
    test_our_links_are_followed(place)
    test_what_is_not_there(place)
    os.close(open_directory(str(place)))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_missing_directories_are_made(place: Path) -> None:
    (place / "link").symlink_to(place)
    os.close(open_directory(str(place / "link/a/b"), make=0o700))
    assert (place / "a/b").is_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
class TestOthers:
    def test_a_link_that_somebody_else_has_made(self, place: Path) -> None:
        (place / "target").mkdir()
        (place / "link").symlink_to("target")
        mallorys(place / "link")
        with pytest.raises(
            OSError, match="link is a symbolic link that users other than root and nbdtun's own can change; it is not followed"
        ):
            came_to(place / "link")
        with pytest.raises(OSError, match="not followed"):
            open_directory(str(place / "link/new"), make=0o700)
        assert os.listdir(place / "target") == []

    @pytest.mark.parametrize("mode", [0o775, 0o777])
    def test_a_link_of_ours_where_others_can_move_it(self, place: Path, mode: int) -> None:
        (place / "his").mkdir()
        (place / "his/link").symlink_to("/etc")
        came_to(place / "his/link")
        (place / "his").chmod(mode)
        with pytest.raises(OSError, match="not followed"):
            came_to(place / "his/link")
        (place / "his").chmod(mode | 0o1000)  # sticky: nobody else can move it
        came_to(place / "his/link")
        mallorys(place / "his").chmod(0o755)
        with pytest.raises(OSError, match="not followed"):
            came_to(place / "his/link")

    def test_his_directories_are_passed(self, place: Path) -> None:
        (place / "his").mkdir()
        (place / "his/file").touch()
        assert came_to(mallorys(place / "his") / "file") == is_at(place / "his/file")
        assert is_ours(place.stat())
        assert not is_ours((place / "his").stat())


@pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root")
def test_what_stays_what_it_is(place: Path) -> None:
    for name in ("ours/in", "theirs/in"):
        (place / name).mkdir(parents=True)
    (place / "link").symlink_to("ours")
    mallorys(place / "theirs")
    assert is_steady(f"{place}/ours/in")
    assert is_steady(f"{place}/link/in")
    mallorys(place / "ours/in")
    for name in ("theirs", "theirs/in", "ours/in", "none"):
        assert not is_steady(f"{place}/{name}")
