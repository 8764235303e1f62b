"""A host with its libvirtd as the far end has it, without a tunnel; domains and images for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from attrs import evolve
from twisted.internet import reactor as the_reactor

from lab.disks import MIB
from lab.libvirt import Host
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.arrival import Arrival
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.libvirt.far.record import record
from nbdtun.libvirt.values import Image, Prepared, Wanted
from nbdtun.migration.bond import Bond
from nbdtun.migration.ids import new_session
from nbdtun.process import Reactor

reactor = cast("Reactor", the_reactor)
EMULATOR = shutil.which("qemu-system-x86_64")
UUID = "11111111-2222-3333-4444-555555555555"
BOND = Bond("here", "")
NOBODY = "nobody"


class Doors:
    """The tunnel's part of an arrival, without a tunnel."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.events: list[str] = []

    def open(self) -> tuple[str, str, str]:
        self.events.append("open")
        return "libvirt.1", "memory.1", "disks.1"

    def close(self, why: str) -> None:
        self.events.append("close")


class Scene:
    """A host with its libvirtd, and a directory that the tests see under the same name."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self.pool = directory / "pool"
        self.doors: list[Doors] = []
        self.pool.mkdir()
        host.virsh("pool-create-as", "images", "dir", "--target", f"{self.pool}")

    def arrivals(self, rules: Rules | None = None) -> Arrivals:
        def make(arrival: Arrival) -> Doors:
            self.doors.append(Doors(arrival))
            return self.doors[-1]

        return Arrivals(reactor, self.host.uri, self.directory / "state", make, rules or Rules(roots=(f"{self.directory}",)))

    def pools(self) -> list[str]:
        return self.host.virsh("pool-list", "--all", "--name").split()

    def volumes(self) -> list[str]:
        self.host.virsh("pool-refresh", "images")
        return [line.split()[0] for line in self.host.virsh("vol-list", "images").splitlines() if line.strip()]


async def lives() -> bool:
    return True


async def is_dead() -> bool:
    return False


def domain(*disks: Path, name: str = "web1", uuid: str = UUID, more: str = "", cpu: str = "qemu64", machine: str = "pc-q35-7.2") -> str:
    images = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='{disk.suffix[1:]}'/><source file='{disk}'/>"
        f"<target dev='vd{letter}' bus='virtio'/></disk>"
        for letter, disk in zip("abc", disks, strict=False)
    )
    return f"""
        <domain type='qemu'>
          <name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
          <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
          <cpu mode='custom' match='exact'><model>{cpu}</model></cpu>
          <devices><emulator>{EMULATOR}</emulator>{images}
            <controller type='usb' model='none'/><memballoon model='none'/>{more}
          </devices>
        </domain>"""


def image_of(path: Path, target: str = "vda", **changes: Any) -> Image:
    return evolve(Image(target, f"{path}", path.suffix[1:], 8 * MIB, owner=NOBODY, mode=0o640), **changes)


def wanted_of(*images: Image, **changes: Any) -> Wanted:
    xml = domain(*(Path(image.path) for image in images))
    return evolve(Wanted("web1", UUID, xml, images), **changes)


def make(path: Path, size: int = 8 * MIB) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", path.suffix[1:], path, f"{size}"], check=True)
    return path


def fill(path: Path) -> Path:
    subprocess.run(["qemu-io", "-f", path.suffix[1:], "-c", "write -P 7 0 64k", path], check=True, capture_output=True)
    return path


async def texts(arrivals: Arrivals, wanted: Wanted) -> list[str]:
    return [f"{finding.level.value}: {finding.what}" for finding in (await arrivals.look(wanted)).findings]


async def begin(arrivals: Arrivals, wanted: Wanted, alive: Callable[[], Awaitable[bool]] = lives) -> tuple[Arrival, Prepared]:
    return await arrivals.begin(new_session(), BOND, wanted, alive)


def file_of(scene: Scene, xml: str) -> str:
    file = scene.directory / "domain.xml"
    file.write_text(xml)
    return f"{file}"


def kill(scene: Scene, maker: str = "1 2 3") -> None:
    """As if another process had made it, which is gone."""
    kept = record(scene.directory / "state", UUID)
    left = kept.read()
    assert left is not None
    kept.write(evolve(left, maker=maker))
