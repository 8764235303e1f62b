"""An option by itself: its text, and its value."""

from __future__ import annotations

import pytest

from nbdtun.config import options
from nbdtun.config.option import spelled_out
from nbdtun.config.options import LIBVIRT, MAP
from nbdtun.errors import ConfigError


def test_what_can_be_given_alone_gets_its_value() -> None:
    words = ["--libvirt", "web1", "--libvirt=qemu:///session", "--", "--libvirt"]
    assert spelled_out(words, [LIBVIRT, MAP]) == ["--libvirt=qemu:///system", *words[1:]]
    assert spelled_out(["--map"], [LIBVIRT, MAP]) == ["--map"]


def test_a_uri_behind_it_is_its_value() -> None:
    words = ["web1", "--libvirt", "qemu:///session", "--to", "ssh://dest"]
    assert spelled_out(words, [LIBVIRT]) == words
    assert spelled_out(["--libvirt", "--to=ssh://dest"], [LIBVIRT]) == ["--libvirt=qemu:///system", "--to=ssh://dest"]


def test_text_is_taken_as_it_is_and_a_parser_refuses() -> None:
    assert options.TLS_NAME.read("dest") == "dest"
    assert options.WINDOW.read("1MiB") == 2**20
    with pytest.raises(ConfigError, match="'much' is not a size"):
        options.WINDOW.read("much")
