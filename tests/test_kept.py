"""Values in files: what was written is read by a later process, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import frozen

from nbdtun.errors import NotMigratable
from nbdtun.kept import Kept


@frozen
class Note:
    text: str
    number: int = 0


def kept(path: Path) -> Kept[Note]:
    return Kept(path, Note)


def test_a_value_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "state/note"
    assert kept(path).write(Note("a"))
    assert kept(path).write(Note("b", 1))
    assert kept(path).read() == Note("b", 1)
    assert path.stat().st_mode & 0o777 == 0o600
    kept(path).erase()
    kept(path).erase()
    assert kept(path).read() is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_not_in_the_way_of_one_with_its_id(tmp_path: Path) -> None:
    """In a container, a daemon has the same one each time."""
    (tmp_path / f".note.{os.getpid()}").write_bytes(b'{"te')
    assert kept(tmp_path / "note").write(Note("a"))
    assert os.listdir(tmp_path) == ["note"]


def test_others_in_the_directory_stay(tmp_path: Path) -> None:
    for name in ("a", "b"):
        kept(tmp_path / "state" / name).write(Note(name))
    kept(tmp_path / "state/a").erase()
    assert kept(tmp_path / "state/b").read() == Note("b")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"text": 1, "number": 1}', b'{"number": 1}', b"[" * 100_000])
def test_nonsense_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "note").write_bytes(content)
    assert kept(tmp_path / "note").is_there
    with pytest.raises(NotMigratable, match=f"{tmp_path}/note, the record of .*, cannot be read: .*; the release of nbdtun that wrote it"):
        kept(tmp_path / "note").read()


def test_so_is_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    with pytest.raises(NotMigratable, match="cannot be read: Is a directory"):
        kept(tmp_path / "note").read()


def test_another_release_has_more_fields_or_fewer(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b'{"text": "a", "colour": {"red": 1}}')
    assert kept(tmp_path / "note").read() == Note("a")


def test_one_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    note = kept(tmp_path / "file/state/note")
    assert not note.write(Note("a"))
    assert note.read() is None
