"""Hosts that are namespaces of this machine, with a cable between them that can be pulled.

Each has a network, a process tree, and directories of its own: what one has in `/srv` or `/run`, the other has not.
All of it is the kernel's, and ends with the first process there. It takes root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab.cache import CACHE, LAB
from lab.process import Process, wait

OWN = ("srv", "run", "var/lib")
"""What a host has of its own; all else is this machine's."""

_UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def unable() -> str:
    """Why there can be no such hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "hosts of our own take root"
    if not shutil.which("ip"):
        return "iproute2 is not installed"
    if any(path.resolve().is_relative_to(f"/{own}") for own in OWN for path in (LAB, CACHE, Path(sys.executable))):
        return "what the hosts need is in directories that they have of their own"
    cable = "mount --bind /tmp /mnt && ip link add name one type veth peer name other"
    probe = subprocess.run([*_UNSHARE, "sh", "-c", cable], capture_output=True, text=True)
    return "" if probe.returncode == 0 else f"no namespaces of our own: {probe.stderr.strip()}"


class Host(Process):
    """A host without anything in `/srv`, `/run` and `/var/lib`; a context manager that ends all its processes."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.root = directory / name
        for own in OWN:
            (self.root / own).mkdir(parents=True, exist_ok=True)
        mounts = " && ".join(f"mount --bind {self.root / own} /{own}" for own in OWN)
        # A shell, because it buries the dead.
        script = f"{mounts} && ip link set lo up && echo up && while sleep 1; do :; done"
        super().__init__([*_UNSHARE, "sh", "-c", script], directory / f"{name}.log")
        self.wait_log("up\n")
        self.first = int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text())
        """Its first process, which all others end with."""

    @property
    def enter(self) -> list[str]:
        """What stands before a command that is to run there."""
        return ["nsenter", "--target", f"{self.first}", "--net", "--mount", "--pid", "--wd=/"]

    def ip(self, *words: str) -> None:
        """Run `ip` in its network."""
        subprocess.run(["nsenter", "--target", f"{self.first}", "--net", "ip", *words], check=True)

    def path(self, inside: str) -> Path:
        """Where this machine has a file of the host's own."""
        return self.root / inside.lstrip("/")

    def kill(self) -> None:
        """End it; it is gone then, with all its processes."""
        super().kill()
        wait(lambda: not Path(f"/proc/{self.first}").exists(), 10, f"the end of {self.name}")


class Cable:
    """Between two hosts: `addresses` are theirs. The second one of a host has another `name`, and another `network`."""

    addresses = ("192.0.2.1", "192.0.2.2")

    def __init__(self, one: Host, other: Host, *, name: str = "cable", network: str = "192.0.2") -> None:
        self.addresses = (f"{network}.1", f"{network}.2")
        self._host, self._name = one, name
        one.ip("link", "add", "name", name, "type", "veth", "peer", "name", name, "netns", f"{other.first}")
        for host, address in zip((one, other), self.addresses, strict=True):
            host.ip("address", "add", f"{address}/24", "dev", name)
            host.ip("link", "set", name, "up")

    def sent(self) -> int:
        """Bytes that the first host has sent."""
        lines = Path(f"/proc/{self._host.first}/net/dev").read_text().splitlines()
        (counts,) = (line.partition(":")[2].split() for line in lines if line.strip().startswith(f"{self._name}:"))
        return int(counts[8])

    def pull(self) -> None:
        """Nothing passes any more, and both ends' kernels see that there is no carrier."""
        self._host.ip("link", "set", self._name, "down")

    def plug(self) -> None:
        """All is well again."""
        self._host.ip("link", "set", self._name, "up")
