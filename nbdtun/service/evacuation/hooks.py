"""
The operator's executables: ``before``, ``switchover``, ``after`` and ``failed`` in one directory, each called for each VM.

A hook has a limited time, and is killed with all that it has started when that is over. It runs in a thread: its user may write what he
likes. What it prints last is the reason of its failure.
"""

from __future__ import annotations

import enum
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.threads import deferToThread

from nbdtun.errors import HookFailed, printable
from nbdtun.units import duration_text

#: The most bytes of its last words.
_MOST: Final = 2000


class Hook(enum.Enum):
    """The moments: before a VM is begun, before its switchover, after its arrival, and when it stays."""

    BEFORE = "before"
    SWITCHOVER = "switchover"
    AFTER = "after"
    FAILED = "failed"


class Hooks:
    """The hooks in the directory ``folder``, empty for none; each has so many ``seconds``."""

    def __init__(self, folder: str, seconds: float) -> None:
        self._folder = Path(folder) if folder else None
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"<Hooks in {self._folder}>"

    async def call(self, hook: Hook, told: Mapping[str, str]) -> None:
        """
        Call one, if there is one; ``told`` are its variables, ``NBDTUN_VM`` and others.

        :raise HookFailed: it has failed.
        """
        path = None if self._folder is None else self._folder / hook.value
        if path is None or not path.exists():
            return
        why = await deferToThread(_run, path, {**os.environ, **told}, self._seconds)
        if why:
            raise HookFailed(f"the hook {path} {why}")


def _run(path: Path, variables: Mapping[str, str], seconds: float) -> str:
    """Run it; returns why it failed, empty if it did not."""
    try:
        process = subprocess.Popen(
            [path],
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"has not ended within {duration_text(seconds)}"
    words = printable(said[-_MOST:].decode("utf-8", "replace")).strip()
    return "" if process.returncode == 0 else f"ended with {process.returncode}" + (f": {words}" if words else "")
