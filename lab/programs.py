"""The processes of a daemon whose program is replaced, and the command that does it: `nbdtun reload --program`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from lab.daemon import BIN
from lab.process import marked, wait


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Programs:
    """Those of the daemon `kind`, which has its control sockets below `run_dir`. The first of them is somebody else's."""

    def __init__(self, run_dir: Path, kind: str = "nbdtun-dest") -> None:
        self._run_dir = run_dir
        self._kind = kind

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `nbdtun` at that end."""
        run = [f"{BIN}/nbdtun", *words, "--run-dir", f"{self._run_dir}"]
        return subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)

    def replace(self, *words: str) -> int:
        """Replace the present program; the process of the new one."""
        told = self.command("reload", "--program", *words, f"@{self.newest}")
        if told.returncode:
            raise RuntimeError(f"{told}")
        return int(told.stdout.partition(": process ")[2].split()[0])

    @property
    def newest(self) -> int:
        """The process that was not replaced."""
        reports = map(json.loads, self.command("status", "--json").stdout.splitlines())
        return next(int(each["pid"]) for each in reports if each["name"] == self._kind and each["state"] == "serving")

    @property
    def running(self) -> list[int]:
        """All of them."""
        words = f" {self._kind.removeprefix('nbdtun-')} --"
        return sorted(pid for pid, line in marked().items() if words in line and f"{self._run_dir}" in line and alive(pid))

    def lose(self, pid: int) -> None:
        """
        Kill one of them, and no other.

        They are one process group, which a terminal can interrupt as a whole. So `Daemon.kill` of the first kills all.
        """
        os.kill(pid, signal.SIGKILL)
        wait(lambda: pid not in self.running, 10, f"the end of process {pid}")

    def end(self) -> None:
        """Stop the daemon as a whole, in good order."""
        if self.running:
            os.kill(self.newest, signal.SIGTERM)
        wait(lambda: not self.running, 20, "the end of all programs")

    def kill(self) -> None:
        """Leave none of them."""
        for pid in self.running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
