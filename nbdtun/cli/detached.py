"""
The lines of a command whose terminal has gone away: a closed window, a lost ssh connection.

They go to the system's log, where there is one, which systemd's journal keeps as well; else to the file ``VM.log`` beside the run
directories, which stays there. A write to a terminal that is gone fails with EIO, to a pipe without a reader with EPIPE. So what leads
there leads nowhere from then on, and nothing that is written can fail.
"""

from __future__ import annotations

import io
import os
import sys
import syslog
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO, cast

from nbdtun.errors import ConfigError
from nbdtun.ownership.directories import make_directories
from nbdtun.ownership.files import append_to
from nbdtun.process import gone
from nbdtun.service.local import ownership

#: Where syslogd or journald listens.
SYSLOG = Path("/dev/log")


class DetachedLog(io.TextIOBase):
    """A stream whose lines go to ``say``; ``where`` is the place, in words for an operator. It never fails."""

    def __init__(self, where: str, say: Callable[[str], object]) -> None:
        super().__init__()
        self.where = where
        self._say = say
        self._begun = ""

    def __repr__(self) -> str:
        return f"<DetachedLog in {self.where}>"

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Keep all whole lines; the rest waits for its end."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(None, map(str.strip, lines)):
            with suppress(OSError, ValueError):
                self._say(line)
        return len(text)


def open_log(vm: str, base: Path) -> DetachedLog:
    """Open the log for the migration of ``vm``, whose run directory is in ``base``; one that cannot be opened keeps nothing."""
    if SYSLOG.exists():
        syslog.openlog("nbdtun", syslog.LOG_PID, syslog.LOG_DAEMON)
        return DetachedLog("the system log", lambda line: syslog.syslog(syslog.LOG_NOTICE, line))
    path = base / f"{vm}.log"
    try:
        ownership.check(base)
        make_directories(f"{base}")
        file = append_to(path)
    except (OSError, ConfigError):
        return DetachedLog("nowhere", lambda line: None)
    return DetachedLog(f"{path}", lambda line: _add(file, line))


def _add(file: TextIO, line: str) -> None:
    file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} nbdtun[{os.getpid()}]: {line}\n")
    file.flush()


class Terminal:
    """
    The standard output and error of a command that outlives them. ``open`` opens the log, when it is first needed.

    ``log`` is that log, None while there is none.
    """

    def __init__(self, open: Callable[[], DetachedLog]) -> None:
        self.log: DetachedLog | None = None
        self._open = open
        self._shown = _is_terminal(1)

    def __repr__(self) -> str:
        return f"<Terminal {self.log or 'present'}>"

    @property
    def where(self) -> str | None:
        """Where the lines go instead; None while the terminal is there."""
        return None if self.log is None else self.log.where

    def leave(self, release: Callable[[], object]) -> bool:
        """
        If it has gone away, let its lines go to the log from now on. Returns whether the display was lost with it, just now.

        ``release`` makes the display give the streams back, before they are replaced. A reader of the output alone may go away, such as
        ``head``: that is no loss.
        """
        errors, output = gone(2), gone(1)
        lost = output and (errors or self._shown or self.log is not None)
        if not errors and not lost:
            return False
        self.log = self.log or self._open()
        for number in [2] * errors + [1] * lost:
            _lead_nowhere(number)
        if lost:
            release()
            sys.stdout = cast("TextIO", self.log)
        if errors:
            sys.stderr = cast("TextIO", self.log)
        return lost


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _lead_nowhere(number: int) -> None:
    """Let the descriptor ``number`` lead to /dev/null: what is still buffered for it can be written."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nowhere, number)
    os.close(nowhere)
