"""The images that QEMU has open."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.spawn.near.images import images
from nbdtun.spawn.rewrite.source import Node

DATA = {"compat": "1.1", "lazy-refcounts": False, "refcount-bits": 16, "extended-l2": True, "compression-type": "zstd"}
JSON = 'json:{"driver": "qcow2", "backing": "b", "file": {"driver": "file", "filename": "/srv/a"}}'


class Asked:
    """A monitor with one drive."""

    def __init__(self, node: dict[str, Any]) -> None:
        self._node = node

    async def execute(self, command: str) -> list[dict[str, Any]]:
        return [{"device": "d", "qdev": "q", "inserted": self._node}, {"device": "cd"}] if command == "query-block" else [self._node]


async def read(image: dict[str, Any] | None = None, **more: Any) -> Node:
    whole = {
        "format": "qcow2",
        "virtual-size": 1000,
        "actual-size": 100,
        "cluster-size": 32768,
        "format-specific": {"type": "qcow2", "data": DATA},
        **(image or {}),
    }
    node = {"node-name": "n", "drv": "qcow2", "file": "a.qcow2", "ro": False, "image": whole, **more}
    drive, of_node = await images(Asked(node))  # type: ignore[arg-type]
    assert (of_node.drive, drive.drive) == (False, True)
    return drive


async def test_an_image_is_read() -> None:
    found = await read()
    assert (found.name, found.device, found.qdev, found.file, found.size, found.allocated) == ("n", "d", "q", "a.qcow2", 1000, 100)
    assert found.options == {
        "compat": "1.1",
        "cluster_size": "32768",
        "lazy_refcounts": "off",
        "refcount_bits": "16",
        "extended_l2": "on",
        "compression_type": "zstd",
    }


async def test_a_chain_is_read() -> None:
    below = {"filename": "/srv/c", "format": "raw", "actual-size": 5}
    found = await read({"backing-image": {"filename": "/srv/b", "format": "qcow2", "actual-size": 7, "backing-image": below}})
    assert (found.chain, found.backing_format, found.allocated) == (("/srv/b", "/srv/c"), "qcow2", 112)


async def test_an_old_image_has_fewer_options() -> None:
    found = await read({"format-specific": {"data": {"compat": "0.10"}}})
    assert found.options == {"compat": "0.10", "cluster_size": "32768"}
    assert (await read({"format": "raw"})).options == {}


@pytest.mark.parametrize(("file", "path"), [(JSON, "/srv/a"), ("json:{", "json:{"), ('json:{"driver": "nbd"}', 'json:{"driver": "nbd"}')])
async def test_the_path_in_json(file: str, path: str) -> None:
    assert (await read(file=file)).file == path


@pytest.mark.parametrize(
    ("image", "more", "why"),
    [
        ({"encrypted": True}, {}, "it is encrypted"),
        ({}, {"drv": "luks"}, "it is encrypted"),
        ({"format-specific": {"data": {"data-file": "x"}}}, {}, "its data are in a file of their own"),
    ],
)
async def test_images_that_cannot_be_made(image: dict[str, Any], more: dict[str, Any], why: str) -> None:
    assert (await read(image, **more)).unfit.startswith(why)
