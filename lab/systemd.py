"""A systemd as the first process of namespaces of our own, over a copy of a tree that ends with it: see `lab/boot.sh`.

It is the real one, so a unit has in it what it has at an operator's: its sockets, its restrictions, its shutdown.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.cache import LAB
from lab.process import Process, wait

INSIDE = Path("/run/nbdtun-lab").exists()
"""Whether this process runs in such a host."""

PLACE = "/srv" if INSIDE else "/tmp"
"""Where tests have their directories: a unit has a `/tmp` of its own."""

_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")


def unable() -> str:
    """Why there can be none here; empty if there can."""
    if os.geteuid() != 0:
        return "a systemd of our own takes root"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    script = "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w && mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w o /srv"
    probe = subprocess.run(["unshare", *_NAMESPACES, "--fork", "sh", "-c", f"{script} && mount -t cgroup2 c /mnt"], capture_output=True)
    return "" if probe.returncode == 0 else f"no namespaces of our own: {probe.stderr.decode().strip()}"


class Systemd(Process):
    """The manager of a host that is a copy of the tree `root`; a context manager that ends all of it. The checkout is in it, too."""

    def __init__(self, directory: Path, root: Path = Path("/")) -> None:
        scratch = directory / "host"
        scratch.mkdir()
        super().__init__([LAB / "boot.sh", root, scratch], directory / "systemd.log")
        self.first = 0
        wait(self._found, 10, "the first process", self)
        wait(lambda: self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"), 30, "a booted host", self)

    def _found(self) -> bool:
        """Its first process: the child of unshare, once it is systemd."""
        try:
            self.first = int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])
            return Path(f"/proc/{self.first}/comm").read_text() == "systemd\n"
        except (IndexError, FileNotFoundError):
            return False

    def command(self, words: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs `words` there."""
        return ["nsenter", "--target", f"{self.first}", *_NAMESPACES, "--root", "--wd", *words]

    def run(self, *words: str | Path, check: bool = True) -> str:
        """Run a command there, to its end; what it prints."""
        ended = subprocess.run(self.command(words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        if check and ended.returncode:
            raise RuntimeError(f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout
