"""Files beside the source's images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.spawn.near.nonces import PREFIX, Nonces
from nbdtun.spawn.values import Twin
from tests.spawn.stage import PLAN, evolved, image_of


def test_one_for_each_directory(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    plan = evolved(PLAN, images=tuple(image_of(origin=str(tmp_path / name)) for name in ("a", "b", "link")))
    with Nonces() as nonces:
        made = nonces.place(plan)
        twins = [image.twin for image in made.images]
        assert len({twin.nonce for twin in twins}) == 1
        assert [twin.name for twin in twins] == ["a", "b", "a"]
        assert twins[0].inode == os.stat(tmp_path / "a").st_ino
        assert (tmp_path / twins[0].nonce).exists()
        assert twins[0].nonce.startswith(PREFIX)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "link"]


def test_where_none_can_be() -> None:
    with Nonces() as nonces:
        made = nonces.place(evolved(PLAN, images=(image_of(origin="/proc/cpuinfo"), image_of(origin="/gone"))))
    assert [(image.twin.nonce, image.twin.name) for image in made.images] == [("", "cpuinfo"), ("", "")]


def test_an_image_behind_the_network_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Nonces() as nonces:
        (image,) = nonces.place(evolved(PLAN, images=(image_of(origin=""),))).images
        assert os.listdir(tmp_path) == ["here"]
    assert image.twin == Twin()
