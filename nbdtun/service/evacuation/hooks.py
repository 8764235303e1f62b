"""
The operator's executables: ``before``, ``switchover``, ``after`` and ``failed`` in one directory, each called for each VM.

A hook has a limited time, and is killed with all that it has started when that is over. It runs in a thread: its user may write what he
likes. What it prints last is the reason of its failure.

A hook ends with its own process. A program that it leaves running may hold its output open, where no signal of ours reaches it. No VM
waits for that.
"""

from __future__ import annotations

import enum
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Final

from twisted.internet.threads import deferToThread

from nbdtun.errors import HookFailed, printable
from nbdtun.units import duration_text

#: The most bytes of its last words.
_MOST: Final = 2000

#: Seconds for its last words to arrive after its end, and for its end after it was killed.
_GRACE: Final = 1.0


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
    assert process.stdout is not None
    said = bytearray()
    listener = Thread(target=_listen, args=(process.stdout, said), daemon=True)
    listener.start()
    if not _ends(process, seconds):
        return f"has not ended within {duration_text(seconds)}"
    if process.returncode == 0:
        return ""
    listener.join(_GRACE)
    words = printable(bytes(said).decode("utf-8", "replace")).strip()
    return f"ended with {process.returncode}" + (f": {words}" if words else "")


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for its end, and kill it with all of its own when its time is over; returns whether it has ended by itself."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # it may be in the midst of a disk's or a network's I/O
            process.wait(_GRACE)
        return False
    return True


def _listen(output: IO[bytes], said: bytearray) -> None:
    """Read all that it prints, and keep the end of it in ``said``."""
    with output:
        while piece := os.read(output.fileno(), 1 << 16):
            said += piece
            del said[:-_MOST]
