"""Images at the far end, as far as no qemu-img is needed: test_spawn has the rest, with a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.spawn.far import images
from nbdtun.spawn.far.images import is_same, judge, make_image
from nbdtun.spawn.values import Image, Twin
from tests.spawn.stage import image_of


def found(image: Image, overwrite: bool = False) -> list[str]:
    return [finding.what.removeprefix(f"disk vda: {image.path} ") for finding in judge(image, overwrite)]


def test_a_new_image(tmp_path: Path) -> None:
    assert found(image_of(path=str(tmp_path / "a"))) == []


def test_a_device_must_be_there() -> None:
    (finding,) = judge(image_of(path="/dev/vg0/web1", device=True, size=5000), False)
    assert finding.what == "disk vda: /dev/vg0/web1 is not there, and nbdtun makes no block devices"
    assert finding.remedy == "make it: lvcreate -L 5k -n web1 vg0"


def test_what_is_no_file(tmp_path: Path) -> None:
    assert found(image_of(path=str(tmp_path))) == ["is neither a file nor a block device"]


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert found(image_of(path=str(tmp_path / "a"), twin=Twin())) == []


@pytest.mark.parametrize(("why", "locked"), [('Failed to get shared "write" lock', True), ("/srv/block/a: Permission denied", False)])
def test_a_lock_is_known_by_qemus_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str, locked: bool) -> None:
    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(images, "inspect", lambda path: ({}, why))
    image = image_of(path=str(tmp_path / "a"), twin=Twin())
    assert ("is in use by another QEMU" in found(image, overwrite=True)) == locked


def test_the_sources_own_image(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "soft").symlink_to(path)
    (tmp_path / "other").write_text("x")
    (tmp_path / "nonce").touch()
    twin = Twin("nonce", "a", os.stat(path).st_ino)
    for name in ("a", "hard", "soft"):
        image = image_of(path=str(tmp_path / name), twin=twin)
        for overwrite in (False, True):
            assert found(image, overwrite) == ["is the source's own image: both hosts see the same file"]
    other = image_of(path=str(tmp_path / "other"), twin=twin)
    assert not is_same(other, os.stat(other.path))
    (tmp_path / "nonce").unlink()
    assert not is_same(image_of(path=str(path), twin=twin), os.stat(path))


def test_one_that_cannot_be_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    assert "may be the source's own image" in found(image_of(path=str(path), twin=Twin("", "a", 1)))[0]


def test_one_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(NotMigratable, match=r"disk vda: .*/gone/a cannot be made: No such file"):
        make_image(image_of(path=str(tmp_path / "gone/a")))


def test_one_that_has_come_since_the_look_is_not_overwritten(tmp_path: Path) -> None:
    image = image_of(path=str(tmp_path / "a"), twin=Twin())
    assert found(image) == []
    (tmp_path / "a").write_text("somebody's")
    with pytest.raises(NotMigratable):
        make_image(image)
    assert (tmp_path / "a").read_text() == "somebody's"


@pytest.mark.parametrize(
    ("extents", "zero"),
    [
        ([], True),
        ([{"data": False, "zero": True, "length": 1 << 40}], True),
        ([{"data": True, "zero": False, "offset": 0, "length": 4096}], True),  # as qemu-img create writes it
        ([{"data": True, "zero": False, "offset": 0, "length": 4097}], False),
        ([{"data": True, "zero": False, "offset": 0, "length": 1 << 20}], False),  # too much to be read
        ([{"data": True, "zero": False, "length": 4096}], False),  # compressed
    ],
)
def test_zeros_are_no_data(tmp_path: Path, extents: list[dict[str, object]], zero: bool) -> None:
    (tmp_path / "a").write_bytes(bytes(4096) + b"x")
    assert images._is_zero(f"{tmp_path}/a", extents) == zero
