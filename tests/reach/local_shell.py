"""A far end without ssh: a shell of this host, with another home and other programs."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbdtun.reach.pushing.push import Ran


class LocalShell:
    """Runs commands as sshd does: by a login ``shell``, which may print before them."""

    def __init__(self, home: Path, shell: str = "sh", before: str = "", **environment: str) -> None:
        self.home = home
        self.shell, self.before = shell, before
        self.environment: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": f"{home}", **environment}
        self.given: list[int] = []

    async def run(self, words: Sequence[str], stdin: bytes, seconds: float) -> Ran:
        self.given.append(len(stdin))
        command = [self.shell, "-c", self.before + "exec " + shlex.join(words)]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds, env=self.environment, cwd="/")
        return Ran(done.returncode, done.stdout, done.stderr.decode().splitlines())
