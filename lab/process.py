"""Processes under test: each with a log, in a group of its own, and never left behind.

`setpriv --pdeathsig` kills a process whose parent has died, however it died; it
needs no code between fork and exec, which would be unsafe beside threads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

MARK = "NBDTUN_LAB"
"""The environment variable by which every process of ours can be found again."""


class Process:
    """A command that runs until it ends or is ended; a context manager that ends it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        *,
        output: Path | None = None,
        user: int | None = None,
    ) -> None:
        """`output` is where stdout goes, to the log too if None; `user` is another user's and group's number to run as."""
        self.log_path = log
        log.touch()
        other = ["--reuid", f"{user}", "--regid", f"{user}", "--clear-groups"] if user is not None else []
        with log.open("ab") as errors, (output or log).open("ab") as lines:
            self._process = subprocess.Popen(
                ["setpriv", *other, "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=errors,
                env={**os.environ, MARK: f"{os.getpid()}", **(env or {})},
                start_new_session=True,
            )

    def __repr__(self) -> str:
        state = "running" if self.running() else f"ended with {self._process.returncode}"
        return f"<{type(self).__name__} {self.pid} {state}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As `subprocess` has it: negative for a signal, None while it runs."""
        return self._process.poll()

    def running(self) -> bool:
        return self._process.poll() is None

    def stopped(self) -> bool:
        """Whether it was stopped by a signal, and could be continued."""
        return self.running() and Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def log(self) -> str:
        """All that it has written to stderr, and to stdout if that has no file of its own."""
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text: str, timeout: float = 10) -> str:
        """Wait until the log has a text; the whole log then."""
        wait(lambda: text in self.log(), timeout, f"{text!r} in the log of {self!r}", self)
        return self.log()

    def wait_exit(self, timeout: float = 10) -> int:
        """Wait for its end; its exit status."""
        return self._process.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its children, with those who have another parent by now."""
        if self.running():
            os.killpg(self.pid, number)

    def terminate(self, timeout: float = 10) -> int:
        """The polite end: SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def kill(self) -> None:
        """The impolite one."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def rss(self) -> int:
        """Bytes of memory that it holds."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def wait(condition: Callable[[], bool], timeout: float, what: str, process: Process | None = None, *, pause: float = 0.02) -> None:
    """Poll until a condition holds, every `pause` seconds; the process that it depends on must live on."""
    end = time.monotonic() + timeout
    while not condition():
        if process is not None and not process.running() and not condition():
            raise RuntimeError(f"{process!r} while waiting for {what}:\n{process.log()[-2000:]}")
        if time.monotonic() > end:
            log = process.log()[-2000:] if process else ""
            raise TimeoutError(f"no {what} within {timeout} s\n{log}")
        time.sleep(pause)


def marked(pid: int | None = None) -> dict[int, str]:
    """The living processes that process `pid` (this one) started, with their commands.

    By their environment, so that those who changed their parent are found too.
    """
    mark = f"{MARK}={pid or os.getpid()}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(entry.name)] = command.strip()
        except OSError:
            continue  # gone meanwhile, or not ours to read
    return found
