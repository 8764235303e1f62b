"""Two machines that differ in everything; and what is said of it, by the kind of finding."""

from __future__ import annotations

from pathlib import Path

from lab.disks import MIB
from lab.pair import Plan
from lab.qemu import MEMORY, Drive, Qemu
from nbdtun.migration import catalogue
from nbdtun.migration.catalogue import Kind
from tests.integration.replaced import empty

#: Each is a part of a line.
TOLD: dict[Kind, str] = {
    catalogue.BLOCKED: "ivshmem",
    catalogue.CAPABILITY: "QEMU at the source has the migration capability multifd on",
    catalogue.USED: "the nbd export 'mine' serves it to another client",
    catalogue.SNAPSHOTS: "its internal snapshots would stay behind: before",
    catalogue.BITMAPS: "its persistent bitmaps would stay behind: old",
    catalogue.BITMAPS_REFUSED: "disk vdb: its persistent bitmaps would stay behind: new",
    catalogue.MACHINE_SETTING: "the machine's slots is 4 at the source and 2 at the destination",
    catalogue.CPU_LESS: "the destination's CPU lacks popcnt",
    catalogue.CPU_PLACES: "there are 1 of 2 CPUs at the source",
    catalogue.DEVICE: "rng (virtio-rng-pci at pci:10.0) is missing at the destination",
    catalogue.DEVICES_EXCHANGED: "a (virtio-net-pci at pci:11.0) is b at the destination",
    catalogue.DEVICE_FACT: "has vectors=4 at the source and 3",
    catalogue.DEVICE_LESS: "lacks mq at the destination",
    catalogue.RAM_BLOCK: "the RAM block pc.ram of the source is missing at the destination",
    catalogue.CONTENT: "share (virtio-9p-pci at pci:15.0) gives the guest access to files of the host",
    catalogue.DISKS: "is too small for",
    catalogue.DISK_SECTORS: "which is no multiple of its 4096-byte sectors",
}

PLANS = (Plan(16 * MIB, "qcow2"), Plan(16 * MIB, "qcow2"), Plan(32 * MIB))

#: Of both; the words in capitals differ, but for NAME, which is the lab's.
COMMON = f"""
    -m size={MEMORY}k,slots=SLOTS,maxmem=1G -device virtio-net-pci,id=n0,addr=0x13,MORE -device qemu-xhci,id=usb,addr=0x14
    -device virtio-net-pci,id=FIRST,addr=0x11,mac=52:54:00:00:00:01 -device virtio-net-pci,id=SECOND,addr=0x12
    -blockdev driver=raw,node-name=odd,FILEfilename=DIRECTORY/NAME-odd.raw -device virtio-blk-pci,drive=odd,id=odd0,addr=0x16
"""
HERE = """
    -smp 1,maxcpus=2 -device virtio-rng-pci,id=rng,addr=0x10
    -object memory-backend-ram,id=m0,size=1M,share=on -device ivshmem-plain,memdev=m0,master=off,addr=0x17
    -fsdev local,id=f0,path=/tmp,security_model=none -device virtio-9p-pci,id=share,fsdev=f0,mount_tag=t,addr=0x15
"""
THERE = f"-object memory-backend-ram,id=mem0,size={MEMORY}k -machine memory-backend=mem0"


def here(directory: Path) -> list[str]:
    """The source's words, with which a pair's destination begins, too; the images that they name are made."""
    for name in ("src", "dst"):
        (directory / f"{name}-odd.raw").write_bytes(bytes(MIB + 512))
    common = _common(directory, SLOTS="4", MORE="mq=on,vectors=4", FILE="file.driver=file,file.", FIRST="a", SECOND="b")
    return [*common, *HERE.split()]


def there(directory: Path) -> list[str]:
    """The words of the destination that takes its place."""
    file = "file.driver=blkdebug,file.align=4096,file.image.driver=file,file.image."
    return [*_common(directory, SLOTS="2", MORE="vectors=3", FILE=file, FIRST="b", SECOND="a"), *THERE.split()]


def drives(directory: Path) -> list[Drive]:
    """The destination's; the last one is too small."""
    return [empty(directory, name, size) for name, size in (("vda", 16 * MIB), ("vdb", 16 * MIB), ("vdc", 16 * MIB))]


def burden(vm: Qemu, directory: Path) -> None:
    """Give the source's images and its QEMU what cannot travel, or is in the way."""
    qmp = vm.qmp
    qmp("block-dirty-bitmap-add", node="vda", name="old", persistent=True)
    qmp("blockdev-snapshot-internal-sync", device="vda", name="before")
    over = {"node-name": "vda", "snapshot-node-name": "over", "snapshot-file": f"{directory}/over.qcow2", "format": "qcow2"}
    qmp("blockdev-snapshot-sync", **over)
    qmp("block-dirty-bitmap-add", node="vdb", name="new", persistent=True)
    switch_on(vm)
    qmp("nbd-server-start", addr={"type": "unix", "data": {"path": f"{directory}/mine.sock"}})
    qmp("block-export-add", type="nbd", id="mine", node_name="vdc", name="mine")


def switch_on(vm: Qemu) -> None:
    """A migration capability that somebody has left on."""
    vm.qmp("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])


def _common(directory: Path, **values: str) -> list[str]:
    text = COMMON
    for name, value in {**values, "DIRECTORY": f"{directory}"}.items():
        text = text.replace(name, value)
    return text.split()
