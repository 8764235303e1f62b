"""What is watched: drawn in place on a terminal, printed where it has changed elsewhere."""

from __future__ import annotations

import io

import pytest

from nbdtun.display.watched import Watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")


def test_elsewhere_only_changes_are_printed() -> None:
    stream = io.StringIO()
    watched = Watched(stream)
    watched.show(["one", "two"])
    watched.show(["one", "two"])
    watched.show(["one", "three"])
    watched.close()
    assert stream.getvalue() == "one\ntwo\n\none\nthree\n"


def test_on_a_terminal_the_lines_keep_their_place() -> None:
    stream = Terminal()
    watched = Watched(stream)
    watched.show(["one", "two"])
    once = stream.getvalue()
    watched.show(["one", "two"])
    assert stream.getvalue() == once  # nothing new, nothing drawn
    watched.show(["one", "three"])
    up = "\x1b[1A"
    assert up in stream.getvalue()[len(once) :]  # back to the first line, and not down the screen
    watched.close()
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_a_long_line_is_cut_so_that_it_stays_one() -> None:
    stream = Terminal()
    watched = Watched(stream)
    watched.show(["x" * 100])
    watched.close()
    assert "x" * 39 + "…" in stream.getvalue()
    assert "x" * 40 not in stream.getvalue()
