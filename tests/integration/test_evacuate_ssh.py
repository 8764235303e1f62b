"""`nbdtun evacuate --to ssh://...`: a host is emptied to one that is not prepared, and the VMs come home in the same way."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import hosts, ticks
from lab.daemon import BIN
from lab.disks import MIB, Disk
from lab.guest import Guest
from lab.hosts import Cable, Host
from lab.process import Process, wait
from lab.qemu import CPU, MEMORY, native
from lab.sshd import SSHD, Sshd

VMS = ("web1", "web2")
PATIENT = 240

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed"),
    pytest.mark.skipif(bool(hosts.unable()), reason=hosts.unable()),
]


@dataclass
class End:
    """A host, and the way by ssh to the other one."""

    host: Host
    to: Sshd

    def command(self, *words: str) -> list[str]:
        """The words of `nbdtun evacuate` here."""
        options = ["--qmp", "/run/qemu/{vm}.qmp", "--to", self.to.to, "--settle", "200ms", *words]
        environment = [f"{name}={value}" for name, value in self.to.environment.items()]
        return ["env", *environment, f"{BIN}/nbdtun", "evacuate", *options]

    def evacuate(self, *words: str) -> Process:
        """Run it to its end."""
        log = self.host.root / f"evacuate{len([*self.host.root.glob('evacuate*.log')])}.log"
        command = [*self.host.enter, *self.command("--progress", "json", *words)]
        with Process(command, log, output=log.with_suffix(".json")) as run:
            run.wait_exit(PATIENT)
        return run

    def ticks(self, vm: str) -> int:
        """The last tick of a guest that was reported here."""
        console = self.host.path(f"/srv/vm/{vm}.console")
        return ticks.reported(console.read_text(errors="replace")) if console.exists() else 0

    def faults(self, disk: Disk, vm: str) -> list[str]:
        """What is wrong with a VM that has come here."""
        came = self.ticks(vm)
        wait(lambda: self.ticks(vm) >= came + 5, 60, f"ticks of {vm}")
        reported, here = self.ticks(vm), disk.twin(self.host.path(f"/srv/vm/{vm}.qcow2"))
        return [*ticks.lost(here.ticks(), reported), *(f"wrong from byte {offset}" for offset in here.wrong())]


def start(host: Host, guest: Guest, vm: str, *more: str) -> Process:
    """The VM, as somebody starts one, with ``more`` options."""
    command = [
        *native().command(),
        *("-machine", "pc-q35-7.2", "-accel", "tcg", "-cpu", CPU, "-m", f"{MEMORY}k", "-nodefaults", "-display", "none"),
        *guest.arguments(1),
        *("-drive", f"id=vda,if=virtio,format=qcow2,file=/srv/vm/{vm}.qcow2,discard=unmap", "-serial", f"file:/srv/vm/{vm}.console"),
        *("-qmp", f"unix:/run/qemu/{vm}.qmp,server=on,wait=off"),
        *more,
    ]
    return Process([*host.enter, *command], host.root / f"{vm}.log")


@pytest.fixture
def ends(directory: Path) -> Iterator[tuple[End, End]]:
    with ExitStack() as ended:
        here, there = (ended.enter_context(Host(directory, name)) for name in ("here", "there"))
        cable = Cable(here, there)
        ways = []
        for host, address in zip((there, here), reversed(cable.addresses), strict=True):
            (directory / f"to-{host.name}").mkdir()
            ways.append(ended.enter_context(Sshd(directory / f"to-{host.name}", host=host, address=address)))
        yield End(here, ways[0]), End(there, ways[1])


@contextmanager
def vms(here: End, guest: Guest, size: int = 64 * MIB) -> Iterator[dict[str, Disk]]:
    """Two VMs at a host, whose guests tick; their disks."""
    for folder in ("/srv/vm", "/run/qemu"):
        here.host.path(folder).mkdir()
    disks = {vm: Disk(here.host.path(f"/srv/vm/{vm}.qcow2"), size, "qcow2", seed).make() for seed, vm in enumerate(VMS)}
    with ExitStack() as running:
        for vm in VMS:
            running.enter_context(start(here.host, guest, vm))
        for vm in VMS:
            wait(lambda vm=vm: here.ticks(vm) >= 5, 120, f"ticks of {vm}")  # type: ignore[misc]
        yield disks


def test_an_admin_whose_connection_breaks(ends: tuple[End, End], guest: Guest, directory: Path) -> None:
    """He has begun it by ssh, from another machine: it goes on without him."""
    here, there = ends
    with vms(here, guest, 256 * MIB) as disks:
        words = [f"{there.to.directory}/bin/ssh", "-tt", "dest", shlex.join(here.command("--bandwidth", "100MiB"))]
        with Process([*there.host.enter, *words], directory / "admin.log") as admin:
            image = there.host.path(f"/srv/vm/{VMS[0]}.qcow2")
            wait(lambda: image.exists() and image.stat().st_blocks > 4096, PATIENT, "the first copy", admin)
        for vm in VMS:
            wait(lambda vm=vm: there.ticks(vm) > 0, PATIENT, f"ticks of {vm} there")  # type: ignore[misc]
            assert there.faults(disks[vm], vm) == []


def test_there_and_home_again(ends: tuple[End, End], guest: Guest, directory: Path) -> None:
    here, there = ends
    with vms(here, guest) as disks:
        drawn = here.evacuate("--dry-run", "--json")
        assert drawn.returncode == 0, drawn.log()
        planned = json.loads(drawn.log_path.with_suffix(".json").read_text())
        assert sorted((vm["vm"], vm["to"]) for vm in planned["vms"]) == [(vm, "ssh://dest") for vm in VMS]
        report = directory / "report.json"
        gone = here.evacuate("--report", f"{report}")
        assert gone.returncode == 0, gone.log()
        for vm in VMS:
            assert there.faults(disks[vm], vm) == []
        home = there.evacuate("--restore", f"{report}", "--overwrite", "--report", f"{directory}/home.json")
        assert home.returncode == 0, home.log()
        for vm in VMS:
            assert here.faults(disks[vm], vm) == []
        told = json.loads((directory / "home.json").read_text())["vms"]
        assert [vm["vm"] for vm in sorted(told, key=lambda vm: vm["began"])] == [vm["vm"] for vm in json.loads(report.read_text())["vms"]]


def test_a_vm_goes_where_its_network_is(directory: Path, guest: Guest) -> None:
    """Of two hosts, one has the interface that its QEMU has to be joined to."""
    with ExitStack() as ended:
        here, one, two = (ended.enter_context(Host(directory, name)) for name in ("here", "one", "two"))
        sshds = []
        for number, host in enumerate((one, two)):
            cable = Cable(here, host, name=f"cable{number}", network=f"192.0.{2 + number}")
            (directory / f"to-{host.name}").mkdir()
            sshds.append(ended.enter_context(Sshd(directory / f"to-{host.name}", host=host, address=cable.addresses[1])))
        sshds[0].also("two", sshds[1])
        for host in (here, one, two):
            subprocess.run([*host.enter, "mount", "-t", "sysfs", "sys", "/sys"], check=True)  # it has the interfaces of who mounts it
        for host in (here, two):
            host.ip("tuntap", "add", "vms0", "mode", "tap")
        end = End(here, sshds[0])
        for folder in ("/srv/vm", "/run/qemu"):
            here.path(folder).mkdir()
        Disk(here.path("/srv/vm/web1.qcow2"), 16 * MIB, "qcow2", 1).make()
        tap = "tap,id=net0,ifname=vms0,script=no,downscript=no"
        network = ("-netdev", tap, "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01")
        ended.enter_context(start(here, guest, "web1", *network))
        wait(lambda: end.ticks("web1") >= 5, 120, "ticks of web1")
        drawn = end.evacuate("--to", "ssh://two", "--dry-run", "--json")
        assert drawn.returncode == 0, drawn.log()
        (planned,) = json.loads(drawn.log_path.with_suffix(".json").read_text())["vms"]
        assert planned["to"] == "ssh://two"
        alone = end.evacuate("--dry-run", "--json")
        assert alone.returncode == 1, alone.log()
        (refused,) = json.loads(alone.log_path.with_suffix(".json").read_text())["vms"]
        assert "vms0" in refused["refused"]
