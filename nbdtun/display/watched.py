"""
Lines that are shown again and again, as `nbdtun status --watch` does.

On a terminal they are drawn in place, and only when they have changed; the last ones stay. Elsewhere, what has changed is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text


class Watched:
    """Shows lines on ``stream``, those that were shown before give way."""

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream, highlight=False)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal and not console.is_dumb_terminal else None
        self._stream = stream
        self._shown: list[str] | None = None

    def __repr__(self) -> str:
        return f"<Watched {len(self._shown or ())} lines>"

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines, unless they are the ones that are there."""
        if self._shown == [*lines]:
            return
        again, self._shown = self._shown is not None, [*lines]
        if self._live is not None:
            self._live.start()
            self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            print(*([""] * again), *lines, sep="\n", file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the last lines, and give the terminal back."""
        if self._live is not None:
            self._live.stop()
