"""
The three standard streams.

Any of them may be closed, or a full disk, or a terminal that has gone away: none of this ends what the command does.
"""

from __future__ import annotations

import contextlib
import os
import sys


def fill_streams() -> None:
    """
    See that there are three standard streams, of which somebody may have closed some (``>&-``).

    What is said there goes nowhere then, instead of to the next socket, which would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)  # something else has that number already, and keeps it
                continue
            os.open(os.devnull, os.O_RDWR)  # which gets the first number that is free
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def flushed(status: int) -> int:
    """Return ``status``, with nothing left to write: a reader that has gone away must not change it as Python exits."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


def complain(text: str) -> None:
    """Print one line to standard error, as the program's own; nobody can be told when its terminal or disk has failed."""
    with contextlib.suppress(OSError, ValueError):
        print(f"nbdtun: {' '.join(text.split())}", file=sys.stderr, flush=True)
