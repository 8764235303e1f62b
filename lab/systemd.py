"""A systemd as the first process of namespaces of our own, over a copy of a tree that ends with it: see `lab/boot.sh`.

It is the real one, so a unit has in it what it has at an operator's: its sockets, its restrictions, its shutdown.
"""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from lab.cache import LAB
from lab.process import Process, wait

INSIDE = Path("/run/nbdtun-lab").exists()
"""Whether this process runs in such a host."""

PLACE = "/srv" if INSIDE else "/tmp"
"""Where tests have their directories: a unit has a `/tmp` of its own."""

_COUNT = itertools.count()
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")


def unable() -> str:
    """Why there can be none here; empty if there can."""
    if os.geteuid() != 0:
        return "a systemd of our own takes root"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    if _groups() is None:
        return "cgroup2 is not mounted"
    script = "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w && mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w o /srv"
    probe = subprocess.run(["unshare", *_NAMESPACES, "--fork", "sh", "-c", f"{script} && mount -t cgroup2 c /mnt"], capture_output=True)
    return "" if probe.returncode == 0 else f"no namespaces of our own: {probe.stderr.decode().strip()}"


def _groups() -> Path | None:
    """Where this process's own control group is; None without cgroup2 (cgroups(7))."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(mounts[0] + own[0]) if mounts and own else None


def _removed(group: Path) -> bool:
    """Remove a control group; it is busy for a moment longer than it has processes."""
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


class Systemd(Process):
    """The manager of a host that is a copy of the tree `root`; a context manager that ends all of it. The checkout is in it, too."""

    def __init__(self, directory: Path, root: Path = Path("/"), *, shared_network: bool = False) -> None:
        scratch = directory / "host"
        scratch.mkdir()
        around = _groups()
        assert around is not None
        self._group = around / f"nbdtun-lab-{os.getpid()}-{next(_COUNT)}"
        self._group.mkdir()
        settings = {"CGROUP": f"{self._group}", **({"NETWORK": "shared"} if shared_network else {})}
        super().__init__([LAB / "boot.sh", root, scratch], directory / "systemd.log", settings)
        self.first = 0
        try:
            wait(self._found, 10, "the first process", self)
            wait(lambda: self._says("is-system-running") in ("running", "degraded"), 30, "a booted host", self)
        except BaseException:
            self.kill()  # nobody else has it yet
            raise

    def _says(self, *words: str) -> str:
        return self.run("systemctl", *words, check=False).strip()

    def _found(self) -> bool:
        """Its first process: the child of unshare, once it is systemd."""
        try:
            self.first = int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])
            return Path(f"/proc/{self.first}/comm").read_text() == "systemd\n"
        except (IndexError, FileNotFoundError):
            return False

    def kill(self) -> None:
        """End it; nothing of it is left then."""
        super().kill()
        wait(lambda: not list(self._populated()), 10, "the end of its processes")
        for group in [*sorted(self._group.rglob("*/"), reverse=True), self._group]:
            wait(partial(_removed, group), 10, f"the end of {group}")

    def _populated(self) -> Iterator[Path]:
        return (each for each in self._group.rglob("cgroup.procs") if each.read_text())

    def command(self, words: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs `words` there."""
        return ["nsenter", "--target", f"{self.first}", *_NAMESPACES, "--root", "--wd", *words]

    def run(self, *words: str | Path, check: bool = True) -> str:
        """Run a command there, to its end; what it prints."""
        ended = subprocess.run(self.command(words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        if check and ended.returncode:
            raise RuntimeError(f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout
