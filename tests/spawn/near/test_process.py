"""The process behind a monitor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.spawn.near.process import read_process


def test_a_process_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "open", "wb"):
        found = read_process(os.getpid())
    assert found.program == os.path.realpath(sys.executable)
    assert found.directory == os.getcwd()
    assert str(tmp_path / "open") in found.files


def test_its_words_may_be_empty_and_its_program_replaced(tmp_path: Path) -> None:
    at = tmp_path / "7"
    at.mkdir()
    (at / "cmdline").write_bytes(b"qemu\0-name\0\0-m\0001G\0")
    (at / "exe").symlink_to("/usr/bin/qemu (deleted)")
    (at / "cwd").symlink_to("/srv")
    found = read_process(7, tmp_path)
    assert (found.program, found.words, found.directory, found.files) == ("/usr/bin/qemu", ("-name", "", "-m", "1G"), "/srv", ())


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotMigratable, match="the command line of QEMU, process 7, cannot be read: No such file"):
        read_process(7, tmp_path)
