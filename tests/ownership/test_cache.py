"""The user's own directory for programs: where it is, who can change it, and that nothing half-written has a final name."""

from __future__ import annotations

import fcntl
import io
import os
import pwd
import tarfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nbdtun.ownership import cache
from nbdtun.ownership.cache import KEPT, Unusable, base, folder, hold, look, take, unpack
from tests.powers import ordinary


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", f"{tmp_path}")
    return tmp_path


def archive(**files: str) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:xz") as tar:
        for name, text in files.items():
            header = tarfile.TarInfo(f"{name}.txt")
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text.encode()))
    made.seek(0)
    return made


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_where_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == home / ".cache/nbdtun"
    assert folder().stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", f"{home}/other")
    assert base() == home / "other"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert base().is_absolute()


def test_under_sudo_it_is_not_the_other_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    monkeypatch.setattr(cache, "_owner", lambda path: 4242)
    assert base() == own / ".cache"


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_one_that_others_can_change_is_not_used(home: Path, mode: int) -> None:
    folder().chmod(mode)
    with pytest.raises(Unusable, match=r"not a directory of user .* that only this user can write to; set XDG_CACHE_HOME"):
        folder()


def test_a_link_is_not_followed(home: Path) -> None:
    (home / ".cache").mkdir()
    (home / ".cache/nbdtun").symlink_to("/tmp")
    with pytest.raises(Unusable, match="not a directory of user"):
        folder()


def test_a_home_whose_links_another_user_can_change_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of root with another user's HOME: what is executed there could be replaced."""
    (home / "own").mkdir()
    (home / ".cache").symlink_to(home / "own")
    assert base() == home / ".cache"
    found = os.lstat(home / ".cache")
    theirs = os.stat_result([*found[:4], found.st_uid + 1, *found[5:10]])
    monkeypatch.setattr(Path, "lstat", lambda path: theirs if path == home / ".cache" else os.lstat(path))
    assert base() == Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache"


def test_a_home_that_may_not_be_entered_is_told(home: Path) -> None:
    (home / ".cache").mkdir(mode=0)
    with ordinary(), pytest.raises(Unusable, match=r"/\.cache/nbdtun: Permission denied; set XDG_CACHE_HOME"):
        folder()
    (home / ".cache").chmod(0o700)
    home.chmod(0)
    with ordinary(), pytest.raises(Unusable, match="Permission denied; set XDG_CACHE_HOME"):
        folder()
    home.chmod(0o700)


def test_one_from_which_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.statvfs(folder())
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([*here[:8], here.f_flag | os.ST_NOEXEC, *here[9:11]]))
    with pytest.raises(Unusable, match="no program can run from it, since its file system is mounted noexec"):
        folder()
    assert "noexec" in look("x", 1)["error"]


def test_what_is_told_of_this_host() -> None:
    facts = look("x.pyz", 1000)
    assert (facts["path"], facts["there"]) == (f"{folder()}/x.pyz", "")
    assert facts["machine"] == os.uname().machine
    (folder() / "x.pyz").write_bytes(b"x")
    assert look("x.pyz", 1 << 62)["there"] == sha256(b"x").hexdigest()
    assert "MiB are needed, and " in look("y.pyz", 1 << 62)["error"]


def test_it_takes_what_has_the_right_hash() -> None:
    content = os.urandom(3 << 20)
    told = take("x.pyz", io.BytesIO(content + b"more"), len(content), sha256(content).hexdigest())
    assert told == {"path": f"{folder()}/x.pyz"}
    assert (folder() / "x.pyz").read_bytes() == content


@pytest.mark.parametrize(("sent", "why"), [(b"abc", "1 bytes are missing"), (b"abcx", "it was changed on its way")])
def test_it_takes_nothing_else(sent: bytes, why: str) -> None:
    assert why in take("x.pyz", io.BytesIO(sent), 4, sha256(b"abcd").hexdigest())["error"]
    assert list(folder().iterdir()) == []


def test_a_disk_that_fills_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(28))
    assert take("x", io.BytesIO(b"a"), 1, sha256(b"a").hexdigest())["error"].startswith("the copy: No space left on device; ")
    assert list(folder().iterdir()) == []


def test_it_unpacks_once() -> None:
    there = unpack("nbdtun-1", {"a": archive(one="1"), "b": archive(two="2")}, 1000)
    assert sorted(path.name for path in there.iterdir()) == ["one.txt", "two.txt"]
    assert unpack("nbdtun-1", {}, 1 << 62) == there
    assert [path.name for path in folder().iterdir()] == ["nbdtun-1"]


def test_no_room_to_unpack(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unusable, match="MiB are needed"):
        unpack("nbdtun-1", {"a": archive(one="1")}, 1 << 62)
    monkeypatch.setattr(os, "rename", failing(28))
    with pytest.raises(Unusable, match="No space left"):
        unpack("nbdtun-1", {"a": archive(one="1")}, 1)
    assert list(folder().iterdir()) == []


def test_old_programs_go_when_a_new_one_comes() -> None:
    """Those that were started lately stay, and those that run; and what is none of ours."""
    there, number = folder(), "0123456789abcdef"
    old = [f"nbdtun-{number}.pyz", f"made-{number}-3.11.pyz", f".nbdtun-{number}.pyz.77", f"{number}-3.11/pkg", f".{number}-3.11.x/pkg"]
    stay = [
        "nbdtun-1111111111111111.pyz",
        "1111111111111111-3.12/pkg",
        "aaaaaaaaaaaaaaaa-3.12/pkg",
        "nbdtun-aaaaaaaaaaaaaaaa.pyz",
        "theirs",
    ]
    for name in [*old, *stay]:
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_text("x")
    running = os.open(there / "aaaaaaaaaaaaaaaa-3.12", os.O_RDONLY), os.open(there / "nbdtun-aaaaaaaaaaaaaaaa.pyz", os.O_RDONLY)
    for descriptor in running:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    before = time.time() - KEPT - 60
    for path in there.iterdir():
        os.utime(path, (before, before))
    hold(there / "nbdtun-1111111111111111.pyz")  # it has just been started
    hold(there / "1111111111111111-3.12")
    hold(there / "gone")
    take("nbdtun-2222222222222222.pyz", io.BytesIO(b"new"), 3, sha256(b"new").hexdigest())
    for descriptor in running:
        os.close(descriptor)
    assert sorted(os.listdir(there)) == sorted([*(name.partition("/")[0] for name in stay), "nbdtun-2222222222222222.pyz"])
