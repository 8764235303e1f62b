"""What is wrong with a path that an operator has named: the path and the reason, whatever may be seen of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.ownership.given import check_directory, in_words, is_there, read_text
from tests.powers import ordinary


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file and a directory, which this user may not enter."""
    folder = tmp_path / "closed"
    (folder / "pki").mkdir(parents=True)
    (folder / "answers").write_text("unit\n")
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def test_a_text() -> None:
    with pytest.raises(ConfigError) as caught:
        read_text("/nowhere/answers", "--answers")
    assert str(caught.value) == "--answers /nowhere/answers cannot be read: No such file or directory"


def test_a_text_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"QFI\xfb")
    with pytest.raises(ConfigError, match=r"^/.*/image cannot be read: it is not UTF-8 text$"):
        read_text(f"{tmp_path}/image")


def test_a_text_that_may_not_be_reached(closed: Path) -> None:
    with ordinary(), pytest.raises(ConfigError, match=r"^/.*/closed/answers cannot be read: Permission denied$"):
        read_text(f"{closed}/answers")


def test_a_directory(tmp_path: Path, closed: Path) -> None:
    check_directory(tmp_path)
    (tmp_path / "file").touch()
    for path, why in ((tmp_path / "file", "Not a directory"), (tmp_path / "gone", "No such file or directory")):
        with pytest.raises(ConfigError) as caught:
            check_directory(path, "--tls-dir")
        assert str(caught.value) == f"--tls-dir {path}: {why}"
    with ordinary(), pytest.raises(ConfigError, match=r"^/.*/closed/pki: Permission denied$"):
        check_directory(closed / "pki")


def test_whether_it_is_there(tmp_path: Path, closed: Path) -> None:
    (tmp_path / "file").touch()
    assert is_there(tmp_path / "file")
    assert not is_there(tmp_path / "gone")
    assert not is_there(tmp_path / "file/gone")
    with ordinary():
        assert is_there(closed / "answers")  # who reads it is told that it may not be reached


def test_an_error_in_words() -> None:
    assert in_words(OSError(errno.EIO, os.strerror(errno.EIO))) == "Input/output error"
    assert in_words(OSError(errno.EACCES, os.strerror(errno.EACCES), "/root/pki")) == "/root/pki: Permission denied"
    assert in_words(OSError("no more")) == "no more"
