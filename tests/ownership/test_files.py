"""Files where an operator wants them: whole or not at all, and never readable before they may be."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbdtun.ownership.files import append_to, end_of_file, is_locked, make_folder, remove_file, replace_file


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """Under which a new file can be read by everybody, if it is not made in another way."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_private_and_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/pki")
    assert mode(tmp_path / "a/pki") == 0o700
    (tmp_path / "shared").mkdir(mode=0o755)
    make_folder(tmp_path / "shared")
    assert mode(tmp_path / "shared") == 0o755


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "pki").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "pki")


@pytest.mark.parametrize("bits", [0o600, 0o644])
def test_a_file_has_its_mode_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    seen: list[tuple[str, int, bytes]] = []
    replace = os.replace

    def watched(draft: Path, path: Path) -> None:
        seen.append((draft.name, mode(draft), draft.read_bytes()))
        replace(draft, path)

    opened = os.open

    def open_and_look(path: Path, *how: int) -> int:
        descriptor = opened(path, *how)
        seen.append((Path(path).name, mode(Path(path)), Path(path).read_bytes()))
        return descriptor

    monkeypatch.setattr(os, "replace", watched)
    monkeypatch.setattr(os, "open", open_and_look)
    replace_file(tmp_path / "ca-key.pem", b"secret", bits)
    draft = f".ca-key.pem.{os.getpid()}"
    assert seen == [(draft, bits, b""), (draft, bits, b"secret")]
    assert (os.listdir(tmp_path), mode(tmp_path / "ca-key.pem")) == (["ca-key.pem"], bits)


def test_what_was_there_is_replaced_whatever_its_mode(tmp_path: Path) -> None:
    """A key that everybody could read does not pass that on to the new one."""
    key = tmp_path / "key"
    key.write_bytes(b"old and longer")
    key.chmod(0o666)
    replace_file(key, b"new", 0o600)
    assert (key.read_bytes(), mode(key)) == (b"new", 0o600)


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "key").symlink_to("precious")
    replace_file(tmp_path / "key", b"new", 0o600)
    assert not (tmp_path / "key").is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("link", [True, False])
def test_a_draft_that_is_somebody_elses_is_left_alone(tmp_path: Path, link: bool) -> None:
    """Whatever lies where ours would be written: it is not written to, not followed and not removed."""
    draft, other = tmp_path / f".key.{os.getpid()}", tmp_path / "other"
    other.write_bytes(b"other")
    if link:
        draft.symlink_to(other)
    else:
        draft.write_bytes(b"other")
    with pytest.raises(FileExistsError):
        replace_file(tmp_path / "key", b"secret", 0o600)
    assert draft.read_bytes() == other.read_bytes() == b"other"
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A full disk shows itself at fsync, at the latest."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "key").write_bytes(b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "key", b"new", 0o600)
    assert os.listdir(tmp_path) == ["key"]
    assert (tmp_path / "key").read_bytes() == b"old"


def test_an_interruption_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "key", b"secret", 0o600)
    assert os.listdir(tmp_path) == []


def test_removing_is_no_ones_trouble(tmp_path: Path) -> None:
    (tmp_path / "pid").write_bytes(b"1")
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "folder").mkdir()
    for name in ("pid", "pid", "link", "folder", "none/pid"):
        remove_file(f"{tmp_path}/{name}")
    assert sorted(os.listdir(tmp_path)) == ["folder", "precious"]


def test_lines_are_added_to_a_private_file_and_to_no_link(tmp_path: Path) -> None:
    path = tmp_path / "web1.log"
    for line in ("one", "two"):
        with append_to(path) as file:
            file.write(f"{line}\n")
    assert (path.read_text(), mode(path)) == ("one\ntwo\n", 0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        append_to(tmp_path / "link")


def test_the_end_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo\n")
    assert (end_of_file(f"{tmp_path}/log", 4), end_of_file(f"{tmp_path}/log", 99)) == (b"two\n", b"one\ntwo\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root")
def test_what_another_user_has_put_into_the_way(tmp_path: Path) -> None:
    """In a directory of QEMU's user: a link on the way, a link or another file's second name at its end, a pipe."""
    (tmp_path / "precious").mkdir()
    precious, theirs = tmp_path / "precious/log", tmp_path / "theirs"
    precious.write_text("precious\n")
    theirs.mkdir()
    (theirs / "way").symlink_to(precious.parent)
    (theirs / "link").symlink_to(precious)
    (theirs / "hard").hardlink_to(precious)
    os.mkfifo(theirs / "pipe")
    for path in (theirs, theirs / "way", theirs / "link", theirs / "pipe"):
        os.chown(path, 1, 1, follow_symlinks=False)
    for name in ("way/log", "link", "hard", "pipe"):
        with pytest.raises(OSError, match=r"link|no file of its own|No such device"):
            append_to(theirs / name)
        with pytest.raises(OSError, match=r"link|no file of its own"):
            end_of_file(f"{theirs}/{name}", 9)
    assert precious.read_text() == "precious\n"


def test_a_lock_is_seen_and_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(FileNotFoundError):
        is_locked(path)
    with path.open("w") as file:
        assert not is_locked(path)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert is_locked(path)
        assert is_locked(path)
    assert not is_locked(path)
