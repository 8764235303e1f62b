"""A QEMU process with a guest, two monitors, a console in a file, and its disks."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab import ticks
from lab.cache import CACHE, fetch
from lab.disks import Disk
from lab.guest import Guest
from lab.process import Process, wait
from lab.qmp import Qmp

SOCKET_PATH_LIMIT = 107
RECENT = CACHE / "qemu-recent/usr"

MEMORY = (128 << 10) + 8
"""KiB of RAM of a guest, and not a multiple of 256: of such a one, a QEMU before 9.0 without KVM loses some of what its guest writes to it
while it migrates, with no tunnel anywhere (`nbdtun/migration/check/emulation.py` has the facts)."""

CPU = "Nehalem"
"""A model by name: `max` is another processor in each version of QEMU."""

Interface = Literal["virtio", "ide", "scsi"]
Style = Literal["blockdev", "drive"]
_DEVICES = {"virtio": "virtio-blk-pci", "ide": "ide-hd", "scsi": "scsi-hd"}


@dataclass(frozen=True)
class Build:
    """One QEMU program, and the directory that it was unpacked to, if it was."""

    binary: Path
    prefix: Path | None = None

    @functools.cached_property
    def version(self) -> tuple[int, int]:
        text = subprocess.run([self.binary, "--version"], env=self.env(), stdout=subprocess.PIPE)
        found = re.search(rb"version (\d+)\.(\d+)", text.stdout)
        if found is None:
            raise RuntimeError(f"{self.binary} does not run")
        return int(found[1]), int(found[2])

    def env(self) -> dict[str, str]:
        library = f"{self.prefix}/lib/x86_64-linux-gnu"
        return {**os.environ, "LD_LIBRARY_PATH": library} if self.prefix else {**os.environ}

    def command(self) -> list[str]:
        """The program with its firmware's directories: its own first, then the system's."""
        roots = [self.prefix, Path("/usr")] if self.prefix else []
        names = ("share/qemu", "share/seabios")
        found = [f"{root}/{name}" for root in roots for name in names]
        return [f"{self.binary}", *(word for path in found for word in ("-L", path))]


def native() -> Build:
    """The distribution's own QEMU."""
    return Build(Path("/usr/bin/qemu-system-x86_64"))


def recent() -> Build:
    """A QEMU of 10.0 or later: the native one, or else the one from the backports."""
    if native().version >= (10, 0):
        return native()
    fetch("backports.sh")
    return Build(RECENT / "bin/qemu-system-x86_64", RECENT)


@dataclass(frozen=True)
class Drive:
    """A disk as the guest has it. Both ends need the same ids and interfaces."""

    disk: Disk
    name: str = "vda"
    """Its node (or drive) is called `name`, and its device `name`-dev."""
    interface: Interface = "virtio"
    style: Style = "blockdev"
    """`-blockdev` and a device with an id; or `-drive` with neither, which leaves
    QEMU to make up the node's name and the device's path."""
    read_only: bool = False
    server: Path | None = None
    """The socket of an NBD server that has the image, for `blockdev`; None for the file itself."""

    def arguments(self) -> list[str]:
        path, fmt = self.disk.path, self.disk.fmt
        read_only = "on" if self.read_only else "off"
        device = f"{_DEVICES[self.interface]},drive={self.name}"
        if self.style == "drive":
            option = f"if=none,id={self.name},file={path},format={fmt},readonly={read_only}"
            return ["-drive", f"{option},discard=unmap", "-device", device]
        file = (
            f"file.driver=nbd,file.server.type=unix,file.server.path={self.server}"
            if self.server
            else f"file.driver=file,file.filename={path}"
        )
        option = f"driver={fmt},node-name={self.name},{file}"
        option = f"{option},read-only={read_only},discard=unmap"
        return ["-blockdev", option, "-device", f"{device},id={self.name}-dev"]


class Qemu(Process):
    """A virtual machine. The product is given `qmp_path`; `qmp()` is the lab's own."""

    def __init__(
        self,
        name: str,
        directory: Path,
        guest: Guest,
        drives: Sequence[Drive],
        *,
        memory: int = MEMORY,
        incoming: bool = False,
        paused: bool = False,
        build: Build | None = None,
        machine: str | None = None,
        cpu: str = CPU,
        extra: Sequence[str] = (),
        user: int | None = None,
    ) -> None:
        """`memory` is in KiB. `extra` are more options, in which NAME stands for `name`; `user` is another user's number, who
        then owns directory and disks."""
        self.build = build or native()
        self.name = name
        self.drives = tuple(drives)
        self.qmp_path = self._socket(directory / f"{name}.qmp")
        self._lab_path = self._socket(directory / f"{name}.lab")
        self._console = directory / f"{name}.console"
        self._console.unlink(missing_ok=True)
        command = [
            *self._machine(machine, memory, cpu),
            *guest.arguments(sum(not drive.read_only for drive in drives)),
            *self._plumbing(),
            *(word for drive in drives for word in drive.arguments()),
            *(["-S"] if incoming or paused else []),
            *(["-incoming", "defer"] if incoming else []),
            *(word.replace("NAME", name) for word in extra),
        ]
        if user is not None:
            self._give_disks(user, directory)
        super().__init__(command, directory / f"{name}.log", self.build.env(), user=user)
        self._meet()

    def _give_disks(self, user: int, directory: Path) -> None:
        directory.chmod(0o1777)  # and not its own: nbdtun makes no run directory where QEMU's user could replace it
        for drive in self.drives:
            os.chown(drive.disk.path, user, user)

    def _meet(self) -> None:
        try:
            wait(self._connect, 20, f"the monitor of {self.name}", self)
            self._own_nodes = self._nodes()
        except BaseException:
            self.kill()  # nobody else has it yet
            raise

    @staticmethod
    def _socket(path: Path) -> Path:
        if len(f"{path}") > SOCKET_PATH_LIMIT:
            raise ValueError(f"{path}: longer than a UNIX socket's path can be")
        path.unlink(missing_ok=True)
        return path

    def _machine(self, machine: str | None, memory: int, cpu: str) -> list[str]:
        # Debian's kernel for virtual machines knows PIIX's IDE, but not q35's AHCI.
        # 7.2 is the oldest QEMU served: its machines exist at both ends.
        ide = any(drive.interface == "ide" for drive in self.drives)
        machine = machine or ("pc-i440fx-7.2" if ide else "pc-q35-7.2")
        scsi = any(drive.interface == "scsi" for drive in self.drives)
        return [
            *self.build.command(),
            *("-name", self.name, "-machine", machine, "-accel", "tcg", "-cpu", cpu),
            *("-m", f"{memory}k", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-display", "none", "-vga", "none"),
            *(("-device", "virtio-scsi-pci,id=scsi0") if scsi else ()),
        ]

    def _plumbing(self) -> list[str]:
        return [
            *("-qmp", f"unix:{self.qmp_path},server=on,wait=off"),
            *("-qmp", f"unix:{self._lab_path},server=on,wait=off"),
            *("-chardev", f"file,id=console,path={self._console}", "-serial", "chardev:console"),
        ]

    def _connect(self) -> bool:
        try:
            self._qmp = Qmp(self._lab_path)
        except OSError:
            return False
        return True

    @property
    def qmp(self) -> Qmp:
        """The lab's monitor: `vm.qmp("query-status")`."""
        return self._qmp

    def status(self) -> str:
        """The VM's run state, as QEMU names it."""
        status: str = self.qmp("query-status")["status"]
        return status

    def state(self) -> str:
        """The same; "stopped" for a process that is stopped, "gone" for one that has ended, or is about to."""
        if not self.running():
            return "gone"
        if self.stopped():
            return "stopped"
        try:
            return self.status()
        except ConnectionError:
            return "gone"

    def console(self) -> str:
        """What the guest has written since this process began."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def ticks(self) -> int:
        """The last tick that the guest reported here; 0 for none."""
        return ticks.reported(self.console())

    def memory(self) -> bytes:
        """The guest's RAM, as it is just now."""
        image = self._console.with_suffix(".memory")
        self.qmp("pmemsave", val=0, size=self.qmp("query-memory-size-summary")["base-memory"], filename=f"{image}")
        return image.read_bytes()

    def wait_ticks(self, more: int = 1, timeout: float = 60) -> int:
        """Wait until the guest has reported so many more ticks; the last one's number."""
        wanted = self.ticks() + more
        wait(lambda: self.ticks() >= wanted, timeout, f"tick {wanted} of {self.name}", self)
        return self.ticks()

    def wait_status(self, *wanted: str, timeout: float = 60) -> str:
        """Wait until the VM is in one of the run states."""
        wait(lambda: self.status() in wanted, timeout, f"{self.name} {wanted}", self)
        return self.status()

    def ticking(self, seconds: float = 10.0) -> bool:
        """Whether the guest reports a tick within that time; a busy machine may let it wait for one."""
        before, end = self.ticks(), time.monotonic() + seconds
        while self.ticks() == before and time.monotonic() < end:
            time.sleep(0.02)
        return self.ticks() > before

    def quit(self) -> None:
        """End it by its monitor, its disks flushed."""
        self.qmp("quit")
        self.wait_exit()

    def leftovers(self) -> list[str]:
        """What a migration has left behind in this QEMU; nothing is right."""
        jobs = [f"job {job['device']}" for job in self.qmp("query-block-jobs")]
        exports = [f"export {export['id']}" for export in self.qmp("query-block-exports")]
        nodes = [f"node {name}" for name in sorted(self._nodes() - self._own_nodes)]
        return [*jobs, *exports, *nodes, *(f"listener {path}" for path in self._listeners())]

    def _nodes(self) -> set[str]:
        return {node["node-name"] for node in self.qmp("query-named-block-nodes", flat=True)}

    def _listeners(self) -> list[str]:
        """The UNIX sockets that it listens on beside its monitors: NBD servers, migrations.

        QMP cannot tell whether an NBD server runs; the kernel can.
        """
        inodes = set()
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            if found := re.match(r"socket:\[(\d+)\]", _target(descriptor)):
                inodes.add(found[1])
        rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        paths = {row[7] for row in rows if row[3] == "00010000" and row[6] in inodes and row[7:]}
        return sorted(paths - {f"{self.qmp_path}", f"{self._lab_path}"})


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""  # closed meanwhile
