"""The guest: a kernel, and an initramfs with busybox and `init` beside this file.

Its disks may be of any kind that the kernel has a driver for; a disk without
one stays idle, which QEMU mirrors just the same.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import ticks
from lab.cache import CACHE, LAB, fetch, locked
from lab.initramfs import KERNEL, archive, install

DRIVERS = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ata_piix", "ahci", "pvpanic_mmio")
"""What the disks need; and what tells the host of a panic, where there is such a device."""

LOAD_END = 66 << 20
"""Where the part of the first disk ends that a guest with `disk` load writes to."""


@dataclass(frozen=True)
class Guest:
    """What QEMU boots: a kernel, an initramfs, and how the guest behaves."""

    kernel: Path
    initramfs: Path
    tick_ms: int = 50
    """The pause between two ticks."""
    ram: int = 0
    """MiB a second that it dirties in its memory, round and round in 64 MiB."""
    obeys: bool = False
    """It obeys the orders `crash`, `off` and `reset` of a second serial port."""
    tells: bool = False
    """It tells on its console how much of that it has done."""
    disk: int = 0
    """MiB a second that it writes to its first disk, from 2 MiB to 66 MiB."""

    def arguments(self, disks: int) -> list[str]:
        """QEMU's options to boot it; it waits a little for that many disks."""
        line = (
            "console=ttyS0 quiet loglevel=3 panic=-1 tsc=reliable no_timer_check "
            f"lab.tick_ms={self.tick_ms} lab.ram={self.ram} lab.disk={self.disk} lab.obeys={self.obeys:d} "
            f"lab.tells={self.tells:d} "
            f"lab.disks={disks}"
        )
        return ["-kernel", f"{self.kernel}", "-initrd", f"{self.initramfs}", "-append", line]


def build() -> Guest:
    """The guest, fetched and built where that has not been done before."""
    fetch("kernel.sh")
    initramfs = CACHE / "initramfs.cpio"
    sources = [LAB / "init", LAB / "initramfs.py", Path(__file__), KERNEL / "done"]
    with locked():
        if not initramfs.exists() or any(_newer(source, initramfs) for source in sources):
            _pack(initramfs)
    return Guest(KERNEL / "vmlinuz", initramfs)


def _newer(source: Path, product: Path) -> bool:
    return source.stat().st_mtime > product.stat().st_mtime


def _pack(initramfs: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        root = Path(name)
        for folder in ("bin", "dev", "etc", "modules", "proc", "sys", "tmp"):
            (root / folder).mkdir()
        shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
        shutil.copy(LAB / "init", root / "init")
        loaded = list(install(DRIVERS, root / "modules"))
        (root / "etc/lab").write_text(f"modules='{' '.join(loaded)}'\nslots={ticks.SLOTS}\n")
        archive(root, initramfs)
