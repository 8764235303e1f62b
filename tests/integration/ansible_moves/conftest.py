"""A rack of two hosts, and VMs there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab import collection, guest, hosts
from lab.ansible import Rack
from lab.disks import MIB, Disk
from lab.process import Process, wait
from lab.qemu import CPU, MEMORY, native
from lab.ticks import reported

WHY = hosts.unable() or collection.unable()


@pytest.fixture
def rack(directory: Path) -> Iterator[Rack]:
    if WHY:
        pytest.skip(WHY)
    with Rack(directory) as one:
        yield one


class VM:
    """A VM of the rack, whose guest ticks; it begins at the first host."""

    def __init__(self, rack: Rack, name: str, size: int = 16 * MIB, *, ticking: bool = True) -> None:
        """`ticking`: its guest has booted; without, it still boots."""
        self.rack, self.name = rack, name
        self._place(0, "srv/vm").mkdir(exist_ok=True)
        self._place(0, "run/qemu").mkdir(exist_ok=True)
        self._disk = Disk(self._place(0, f"srv/vm/{name}.qcow2"), size, "qcow2", filled=1.0).make()
        machine = ("-machine", "pc-q35-7.2", "-accel", "tcg", "-cpu", CPU, "-m", f"{MEMORY}k", "-nodefaults", "-display", "none")
        drive = ("-drive", f"id=vda,if=virtio,format=qcow2,file=/srv/vm/{name}.qcow2,discard=unmap")
        ends = ("-serial", f"file:/srv/vm/{name}.console", "-qmp", f"unix:/run/qemu/{name}.qmp,server=on,wait=off")
        lab = ("-qmp", f"unix:/run/qemu/{name}.lab,server=on,wait=off")
        self.process = rack.start(name, [*native().command(), *machine, *guest.build().arguments(1), *drive, *ends, *lab])
        wait(self._place(0, f"run/qemu/{name}.lab").exists, 20, f"the monitors of {name}", self.process)
        if ticking:
            wait(lambda: self.ticks(0) > 2, 60, f"ticks of {name}", self.process)

    def _place(self, host: int, path: str) -> Path:
        return self.rack.hosts[host].path(f"/{path}")

    def ticks(self, host: int) -> int:
        """The last tick that was reported at a host; 0 for none."""
        console = self._place(host, f"srv/vm/{self.name}.console")
        return reported(console.read_text(errors="replace")) if console.exists() else 0

    def runs_at(self) -> list[str]:
        """The hosts where its guest runs: one, if all is well."""
        return [host.name for host in self.rack.hosts if self._state(host.path(f"/run/qemu/{self.name}.lab")) == "running"]

    def _state(self, path: Path) -> str:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            monitor.connect(f"{path}")
            with monitor.makefile("rw") as lines:
                for command in ("qmp_capabilities", "query-status"):
                    lines.write(json.dumps({"execute": command}) + "\n")
                    lines.flush()
                for line in lines:
                    told: dict[str, Any] = json.loads(line)
                    if "status" in (told.get("return") or {}):
                        return str(told["return"]["status"])
        return "gone"

    def whole_at(self, host: int) -> list[str]:
        """What is wrong with its disk at a host, to which it has moved: its guest ticks on there, and nothing was lost."""
        last = max(self.ticks(0), self.ticks(1))
        wait(lambda: self.ticks(host) > last, 30, f"ticks of {self.name} at {self.rack.hosts[host].name}")
        arrived = self._disk.twin(self._place(host, f"srv/vm/{self.name}.qcow2"))
        return [f"wrong from byte {offset}" for offset in arrived.wrong()]


def ended(process: Process, status: int = 0) -> str:
    """What a run of Ansible's has said, which ends with this status."""
    assert process.wait_exit(300) == status, process.log()
    return process.log()
