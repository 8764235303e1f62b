"""What differs between two hosts, from options and a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbdtun.config.answers import chosen, make_answers
from nbdtun.errors import ConfigError
from nbdtun.spawn.rewrite.answers import Answers, Mapped

NOTHING: dict[str, Any] = {"map": (), "disk": (), "set": (), "answers": None, "overwrite": False, "keep_backing": False, "unit": False}


def test_nothing_differs() -> None:
    assert make_answers(NOTHING) == Answers()


def test_options_win_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("map /a=/file\ndisk vda=/file/a\ndisk vdb=/file/b\nset vnc.vnc=:1\n")
    made = make_answers(
        {
            **NOTHING,
            "answers": str(file),
            "map": (Mapped("/a", "/b"),),
            "disk": ("vda=/own", "vdc"),
            "set": ("vnc.vnc=:2",),
            "unit": True,
        }
    )
    assert made.far("/a/x") == "/b/x"
    assert {node: place.path for node, place in made.disks.items()} == {"vda": "/own", "vdb": "/file/b"}
    assert made.settings == ("vnc.vnc=:1", "vnc.vnc=:2")
    assert made.unit


def test_a_disk_with_a_path_is_not_chosen() -> None:
    assert chosen(["vda", "vdb=/x"]) == ("vda",)
    assert chosen(["vdb=/x"]) is chosen([]) is None


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="--answers /gone cannot be read"):
        make_answers({**NOTHING, "answers": "/gone"})
