"""A terminal at its end, of all that was written to it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.picture import CUT, draw, on_a_terminal, screen, twice

LIVE = """
from rich.console import Console
from rich.live import Live
console = Console()
print("before")
with Live(console=console, auto_refresh=False) as live:
    for number in "abc":
        live.update(f"[red]row {number}[/]\\nanother {number}", refresh=True)
print("after")
"""


def test_what_a_live_display_leaves() -> None:
    status, output = on_a_terminal([sys.executable, "-c", LIVE])
    assert status == 0
    assert [line for line in screen(output) if line] == ["before", "\x1b[31mrow c\x1b[0m", "another c", "after"]


def test_the_cut_and_the_end() -> None:
    begun = f"before\r\nrow 1\r\x1b[2K{CUT} for 1 s\r\x1b[2K{CUT} for 2 s"
    assert twice(f"{begun}\r\x1b[2Krow 2\r\nafter\r\n") == ["before", f"{CUT} for 2 s", "", "...", "", "row 2", "after", ""]


def test_what_is_not_known_is_told() -> None:
    with pytest.raises(ValueError, match="is not known"):
        screen("a\x1b[5;5Hb")


def test_the_picture_has_the_words_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(["", "\x1b[31mred\x1b[0m", "plain", ""], tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert "plain" in text
    assert text == (tmp_path / "b.svg").read_text()
