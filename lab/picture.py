"""
`python -m lab.picture`: docs/demo.svg, the picture in README: the terminal of a real `make demo`, by rich's own export.

It is shown twice: while the cable is pulled, and what has come since, at the end. The terminal is one of its own, 100 columns wide.
Of what a program can do there, rich's live displays do this: go up a line, clear one.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lab.cache import LAB

PICTURE = LAB.parent / "docs/demo.svg"
WIDTH = 100
CUT = "nothing from the destination"
"""What the display says while the cable is pulled."""

_TOKEN = re.compile(r"(\r\n|\n|\r|\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh])")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def main() -> int:
    status, output = on_a_terminal([sys.executable, "-m", "lab.demo"])
    if status:
        print(output)
        return status
    draw(twice(output), PICTURE)
    return 0


def twice(output: str) -> list[str]:
    """The terminal when it said for the last time that the cable is pulled, and what was different at the end."""
    said = output.rindex(CUT)
    meanwhile, end = screen(output[: output.index("\x1b[2K", said)].removesuffix("\r")), screen(output)
    same = next(number for number, (one, other) in enumerate(zip(meanwhile, end, strict=False)) if one != other)
    return [*meanwhile, "", "...", "", *end[same:]]


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command on a terminal; its exit status, and all that it has written there."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": f"{WIDTH}", "LINES": "50", "PYTHONUNBUFFERED": "1"}
    written = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as running:
        os.close(theirs)
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            written += read
        status = running.wait()
    os.close(ours)
    return status, written.decode(errors="replace")


def screen(output: str) -> list[str]:
    """
    The lines of the terminal at the end; they still have their colours.

    :raise ValueError: something was done that is not known here.
    """
    lines, row = [""], 0
    for token in _TOKEN.split(output):
        if token in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row == len(lines))
        elif token == "\x1b[1A":
            row = max(0, row - 1)
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token and token != "\r" and not _TOKEN.fullmatch(token):
            lines[row] += token
    if odd := re.search(r"[\x00-\x1f]", _COLOUR.sub("", "".join(lines))):
        raise ValueError(f"{odd[0]!r} is not known")
    return lines


def draw(lines: list[str], picture: Path) -> None:
    """Draw a terminal with these lines; blank ones at its ends are left out."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="256", highlight=False)
    for line in "\n".join(lines).strip("\n").splitlines():
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    console.save_svg(f"{picture}", title="sudo make demo", unique_id="demo")


if __name__ == "__main__":
    sys.exit(main())
