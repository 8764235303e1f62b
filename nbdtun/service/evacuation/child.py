"""
The process of a migration, ``nbdtun migrate``, and what it leaves: its last report, and its messages.

It is a session of its own, so neither Ctrl-C nor the end of this process reaches it. Its output goes to a file on which it holds a lock for
as long as it lives (flock(2): the lock is the open file's, which the child inherits). So a later process can tell a living child from one
that has ended, whatever happened in between, and without its process id, which another process may have by then.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from nbdtun.errors import NbdtunError, printable
from nbdtun.migration.progress import Progress
from nbdtun.ownership.files import is_locked, remove_file

#: The most bytes of its output that are read.
MOST: Final = 1 << 20

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Child:
    """The process number ``attempt`` for ``vm``; its files are in ``folder``. It may be one that an earlier process has started."""

    def __init__(self, folder: Path, vm: str, attempt: int) -> None:
        self.output = folder / f"{vm}.{attempt}.json"
        self.messages = folder / f"{vm}.{attempt}.log"
        self._vm = vm
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Child {self.output.stem} {'alive' if self.alive else 'ended'}>"

    def start(self, words: Sequence[str]) -> None:
        """
        Start ``nbdtun migrate`` with these words.

        :raise OSError: it cannot be started.
        """
        with open(os.open(self.output, _NEW, 0o600), "wb") as output, open(os.open(self.messages, _NEW, 0o600), "wb") as messages:
            fcntl.flock(output.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            command = [*_itself(), "migrate", *words, "--progress", "final"]
            environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}  # it is no service of its own
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=messages,
                env=environment,
                start_new_session=True,
                cwd="/",
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        if self._process is not None:
            return self._process.poll() is None
        try:
            return is_locked(self.output)
        except OSError:
            return False

    def last(self) -> Progress | None:
        """Its last report; None if it has ended without one."""
        with suppress(OSError, ValueError, NbdtunError):
            lines = _end(self.output).splitlines()
            return Progress.from_json(json.loads(lines[-1])) if lines else None
        return None

    def said(self) -> str:
        """Its last message; empty if there is none."""
        with suppress(OSError):
            lines = _end(self.messages).decode("utf-8", "replace").splitlines()
            return printable(lines[-1].removeprefix("nbdtun: ")) if lines else ""
        return ""

    def forget(self) -> None:
        """Remove its files."""
        remove_file(f"{self.output}")
        remove_file(f"{self.messages}")


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MOST))
        return file.read(MOST)


def _itself() -> list[str]:
    """The command line of this nbdtun: the same Python, and the same archive, if it is one."""
    archive = sys.argv[0] if sys.argv[0].endswith(".pyz") else ""
    return [sys.executable, archive] if archive else [sys.executable, "-m", "nbdtun"]
