"""
Loggers, for every module that logs.

They are txaio's loggers for Twisted, imported by name. ``txaio.use_twisted()`` would choose the framework of the whole process. A
library must not do that, since its application may use txaio with asyncio.

The subject of a line is known far from where it is written. So :func:`about` gives it to all lines of a coroutine, and of those that it
begins meanwhile.

A value in an event is a number, or a part of one line of text: peers and QEMUs have put words into it, and these could move a terminal's
cursor or look like a line of their own. So whatever an application's observers do with an event, they find no such text in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from io import StringIO
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from txaio import tx

from nbdtun.errors import printable

__all__ = ["KEYS", "PROGRESS", "about", "make_logger", "make_named", "traced"]

#: The keys of events that mean the same everywhere: an error's code; a VM's name; the first digits of a session's id, which both ends have;
#: a channel's name; the other end; a migration's phase.
KEYS: Final = ("code", "vm", "session", "channel", "peer", "phase")

_about: Final[ContextVar[Mapping[str, object]]] = ContextVar("about")


@contextmanager
def about(**values: object) -> Iterator[None]:
    """Add ``values`` to the events of this context meanwhile; an event's own win."""
    token = _about.set({**_about.get({}), **values})
    try:
        yield
    finally:
        _about.reset(token)


class _Traced(Failure):
    """A failure whose traceback shows the text of its exception as one line."""

    def printTraceback(self, file: Any = None, elideFrameworkCode: bool = False, detail: str = "default") -> None:
        """See :meth:`Failure.printTraceback`."""
        buffer = StringIO()
        super().printTraceback(buffer, elideFrameworkCode, detail)
        said = safe_str(self.value)
        text = buffer.getvalue().replace(said, printable(said)) if said else buffer.getvalue()
        (file or sys.stderr).write("".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text))


def traced(failure: Failure) -> Failure:
    """Return ``failure`` with a traceback that can be printed: the text of its exception is one line."""
    shown = _Traced.__new__(_Traced)
    shown.__dict__.update(failure.__dict__)
    return shown


class _OneLine(Logger):
    """Makes one line of each text in an event."""

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        """See :meth:`Logger.emit`."""
        super().emit(level, format, **{key: _shown(value) for key, value in {**_about.get({}), **kwargs}.items()})


def _shown(value: object) -> object:
    if isinstance(value, int | float) or value is None:
        return value
    return traced(value) if isinstance(value, Failure) else printable(safe_str(value))


#: Return the logger of the class, or of the module, that calls it. A partial has no frame of its own, by which txaio would name the logger.
make_logger = partial(tx.make_logger, logger=_OneLine)
#: Of the phases of migrations, which a command shows by its display.
PROGRESS: Final = "nbdtun.progress"


def make_named(namespace: str) -> Logger:
    """Return a logger of this name."""
    return _OneLine(namespace)
