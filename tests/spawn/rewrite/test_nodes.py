"""Images, found among those that QEMU has open."""

from __future__ import annotations

import pytest

from nbdtun.spawn.rewrite.nodes import find, names, plain, temporary
from tests.spawn.rewrite.stage import disk


@pytest.mark.parametrize(
    ("text", "path"),
    [("/a", "/a"), ("a:b", ""), ("/a:b", "/a:b"), ("./a:b", "./a:b"), ("file:a", "a"), ("file://a", ""), ("json:{}", ""), ("nbd://h", "")],
)
def test_a_path_or_an_address(text: str, path: str) -> None:
    assert plain(text) == path


def test_names() -> None:
    assert names(disk("a", name="n", device="d", qdev="/machine/peripheral/q/virtio-backend")) == ["n", "d", "q"]


def test_an_image_is_found() -> None:
    drive, node, other = disk("a", name="#1", device="d"), disk("a", "file", "f", drive=False), disk("b", name="#2", device="e")
    every = [other, node, drive]
    assert find(every, name="f") is node
    assert find(every, device="d") is drive
    assert find(every, file="a") is drive
    assert find(every, file="a", format_="file") is node
    assert find(every, file="c") is find(every, device="x") is find(every, name="x") is None


def test_the_image_below_a_temporary_one() -> None:
    node = disk("/var/tmp/x", chain=("a", "b"), backing_format="raw", device="d")
    found = temporary([node], "d", "a")
    assert found is not None
    assert (found.file, found.format, found.chain) == ("a", "raw", ("b",))
    assert temporary([node], "e", "a") is temporary([node], "", "c") is None
