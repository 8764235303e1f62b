"""A ticking guest as a domain of libvirt's, at any of the hosts of `lab.libvirt`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab import ticks
from lab.disks import Disk
from lab.guest import Guest
from lab.libvirt import SPARE, Host
from lab.process import wait


@dataclass(frozen=True)
class Domain:
    """A ticking guest as libvirt's domain, with its `disks`, and a network card at a `bridge`, if given; the same at every host.

    `firmware` and `devices` are more XML, of the system and of devices.
    """

    guest: Guest
    disks: tuple[Disk, ...]
    name: str = "web1"
    memory: int = 128
    bridge: str = ""
    firmware: str = ""
    devices: str = ""

    @property
    def disk(self) -> Disk:
        """The first one."""
        return self.disks[0]

    @property
    def console(self) -> str:
        """The name of its console's file, in `spare`."""
        return f"{self.name}.console"

    def xml(self) -> str:
        """The definition; the emulator is the machine's own."""
        options = self.guest.arguments(len(self.disks))
        kernel, initrd, line = options[1], options[3], options[5]
        card = f"<interface type='bridge'><source bridge='{self.bridge}'/><model type='virtio'/></interface>" if self.bridge else ""
        return f"""
            <domain type='qemu'>
              <name>{self.name}</name>
              <memory unit='MiB'>{self.memory}</memory>
              <vcpu>1</vcpu>
              <os>
                <type arch='x86_64' machine='q35'>hvm</type>{self.firmware}
                <kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{line}</cmdline>
              </os>
              <features><acpi/></features>
              <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
              <devices>
                <emulator>{shutil.which("qemu-system-x86_64")}</emulator>
                {"".join(map(_disk, "abc", self.disks))}
                {card}{self.devices}
                <serial type='file'><source path='{SPARE / self.console}'/></serial>
                <controller type='usb' model='none'/><memballoon model='none'/>
              </devices>
            </domain>"""

    def start(self, host: Host, *, persistent: bool = False) -> None:
        """Boot it at a host, whose directory `spare` has the disks."""
        file = host.spare / f"{self.name}.xml"
        file.write_text(self.xml())
        if persistent:
            host.virsh("define", f"{file}")
            host.virsh("start", self.name)
        else:
            host.virsh("create", f"{file}")

    def ticks(self, host: Host) -> int:
        """The last tick that it has reported at a host; 0 for none."""
        with suppress(FileNotFoundError):
            return ticks.reported((host.spare / self.console).read_text(errors="replace"))
        return 0

    def wait_ticks(self, host: Host, more: int = 1, timeout: float = 60) -> int:
        """Wait until it has reported so many more ticks there; the last one's number."""
        wanted = self.ticks(host) + more
        wait(lambda: self.ticks(host) >= wanted, timeout, f"tick {wanted} at {host.name}", host)
        return self.ticks(host)

    def faults(self, source: Host, destination: Host, folder: Path = SPARE) -> Iterator[str]:
        """What is missing on the destination's disks, which are in a `folder` there, by every tick reported at either host."""
        last = max(self.ticks(source), self.ticks(destination))
        for disk in self.disks:
            arrived = disk.twin(destination.path(f"{folder / disk.path.name}"), disk.fmt)
            yield from ticks.lost(arrived.ticks(), last)
            yield from (f"{disk.path.name}: wrong from byte {offset}" for offset in arrived.wrong(ticks.REGION))


def _disk(letter: str, disk: Disk) -> str:
    """The XML of a disk in `spare`."""
    return f"""
        <disk type='file' device='disk'>
          <driver name='qemu' type='{disk.fmt}' discard='unmap'/>
          <source file='{SPARE / disk.path.name}'/><target dev='vd{letter}' bus='virtio'/>
        </disk>"""
