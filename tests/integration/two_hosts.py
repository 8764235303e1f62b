"""The source's host, and another one behind sshd, where a destination is to be made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.daemon import BIN
from lab.process import Process, marked, wait
from lab.qemu import Build
from lab.sshd import Sshd
from tests.integration.host import Host, files


class Hosts(Host):
    """A QEMU whose destination is reached through sshd only."""

    def __init__(self, directory: Path, build: Build, *, pam: bool = False) -> None:
        super().__init__(directory, build)
        self.sshd = self.ended.enter_context(Sshd(directory, pam=pam))

    def words(self, command: str, *more: str) -> list[str]:
        return [
            f"{BIN}/nbdtun",
            command,
            "web1",
            "--qmp",
            f"{self.qmp}",
            "--to",
            self.sshd.to,
            "--map",
            f"{self.here}={self.there}",
            *([f"--set=emulator={self.wrapped()}"] if self.build.prefix else []),
            *more,
        ]

    def run(self, command: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = self.words(command, *more)
        env = {**os.environ, **self.sshd.environment}
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, env=env)

    def options(self, *more: str) -> list[str]:
        return ["migrate", "--run-dir", f"{self.here.parent}/run", "--settle", "200ms", "--progress", "none", *more]

    def migrate(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run(*self.options(*more))

    def begin(self, *more: str) -> Process:
        """Begin a migration, and go on meanwhile."""
        words, log = self.words(*self.options(*more)), self.here.parent / "attempt.log"
        return self.ended.enter_context(Process(words, log, self.sshd.environment))

    def wait_copying(self, attempt: Process) -> None:
        """Wait until the first bytes of the disk have arrived."""
        image = self.there / "a.qcow2"
        wait(lambda: image.exists() and image.stat().st_blocks * 512 > 1 << 20, 60, "the copy", attempt, pause=0.01)

    def leftovers(self) -> list[str]:
        """What is left of nbdtun at either end, once a far end has had time to end."""
        with suppress(TimeoutError):
            wait(lambda: not self.far_ends(), 10, "the end of the far end")
        ends = (self.here.parent / "run", self.sshd.run_dir)
        left = [f"{path}" for end in ends for path in end.rglob("*") if not path.is_dir()]
        nonces = [name for at in (self.here, self.there) for name in files(at) if ".nbdtun" in name]
        return [*map(str, self.far_ends()), *left, *nonces]

    def record(self) -> dict[str, Any]:
        """What the far end has written down of what it made."""
        with suppress(OSError):
            return dict(json.loads((self.sshd.run_dir / "state/web1.made").read_bytes()))
        return {}

    def far_ends(self) -> list[int]:
        return [pid for pid, command in marked().items() if "nbdtun receive" in command and "ssh -F" not in command]

    def kill_the_far_end(self) -> None:
        for pid in self.far_ends():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def two_hosts(directory: Path, build: Build) -> Iterator[Hosts]:
    one = Hosts(directory, build)
    one.images()
    with one.ended:
        yield one
        wait(lambda: not any("--over-ssh" in command for command in marked().values()), 10, "the end of the far end")
