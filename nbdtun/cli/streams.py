"""
The three standard streams.

Each may be closed, or lead to a full disk or a lost terminal: none of this ends the command's work.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from nbdtun.errors import printable

if TYPE_CHECKING:
    from twisted.python.failure import Failure

#: The most characters of a line: a bug's traceback is one line, too.
LONGEST = 16_000


def fill_streams() -> None:
    """
    Open any standard stream that was closed (``>&-``).

    Its output then goes nowhere, instead of to the next socket, which would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)  # the number is already in use, and stays so
                continue
            os.open(os.devnull, os.O_RDWR)  # gets the first free number
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def flushed(status: int) -> int:
    """Flush the streams and return ``status``: a reader that has gone away must not change it as Python exits."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


#: Is called before each complaint, by a command that has another place for it when the terminal is gone.
before_complaint: list[Callable[[], object]] = []


def tell(line: str) -> None:
    """Print a line about the work to standard error; a step of it only if somebody watches there."""
    from nbdtun.service.tunnel.reached import Step

    if not isinstance(line, Step) or sys.stderr.isatty():
        complain(line, "info")


class Log(Protocol):
    """Takes complaints: each with its level, and with the values of :data:`nbdtun.logs.KEYS` that are known."""

    def __call__(self, text: str, level: str, /, **known: object) -> None:
        """Log a line; ``log_failure`` is a fault of ours."""


#: Takes all complaints in the place of standard error, where the lines there have a form of their own.
log_instead: list[Log] = []


def complain(text: str, level: str = "warn", **known: object) -> None:
    """Print one line to standard error, as the program's own; a failure of its terminal or disk cannot be reported."""
    for prepare in before_complaint:
        prepare()
    if log_instead:
        log_instead[-1](text, level, **known)
        return
    with contextlib.suppress(OSError, ValueError):
        print(f"nbdtun: {printable(text, LONGEST)}", file=sys.stderr, flush=True)


def show_fault(failure: Failure) -> None:
    """Show where a fault of ours has come from."""
    if log_instead:
        log_instead[-1]("internal error", "critical", log_failure=failure)
    else:
        failure.printTraceback(sys.stderr)
