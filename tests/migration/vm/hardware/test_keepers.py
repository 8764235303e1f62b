"""What nobody would carry: told though it is the same at both ends."""

from __future__ import annotations

import pytest
from attrs import evolve

from nbdtun.errors import NotMigratable
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.hardware import keepers
from nbdtun.migration.vm.hardware.model import Device
from tests.migration.vm.hardware.stage import BRIDGE, HERE, having

OUTSIDE = "is a disk outside QEMU's block layer, which cannot be copied"
FILES = "gives the guest access to files of the host, which are not copied"
PASSED = "is passed through from the host, and its content stays there"


def find(kind: str, ident: str = "x") -> list[Finding]:
    return list(keepers.find(having(Device(f"{BRIDGE}/pci:08.0", kind, ident))))


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        (("vhost-user-blk-pci", "vhost-scsi-pci", "vhost-user-scsi-pci-non-transitional", "vhost-vdpa-device-pci"), OUTSIDE),
        (("vhost-user-fs-pci", "virtio-9p-pci", "virtio-9p-pci-transitional", "usb-mtp"), FILES),
        (("vfio-pci", "vfio-pci-nohotplug", "vfio-ap", "scsi-block", "scsi-generic", "usb-host", "usb-redir"), PASSED),
        (("virtio-pmem-pci",), "is memory backed by a file, which is not copied"),
    ],
)
def test_what_keeps_content_that_nobody_carries(kinds: tuple[str, ...], why: str) -> None:
    for kind in kinds:
        (found,) = find(kind)
        assert (found.level, found.check, found.name, found.code) == (Level.FAILURE, "content", "x", NotMigratable.code)
        assert found.what == f"x ({kind} at pci:08.0) {why}"
        assert found.remedy == "unplug it first; or give the destination access to the same content, and use --allow-mismatch x"


@pytest.mark.parametrize(
    "kind",
    [
        *("virtio-blk-pci", "virtio-scsi-pci", "scsi-hd", "scsi-cd", "ide-hd", "nvme", "usb-storage", "cfi.pflash01"),  # QEMU's own disks
        *("nvdimm", "pc-dimm", "virtio-mem-pci"),  # memory
        *("vhost-user-vsock-pci", "vhost-vsock-pci", "vhost-user-gpu-pci", "vhost-user-i2c-pci"),  # no content
        *("tpm-tis", "tpm-crb", "usb-kbd", "usb-tablet", "usb-ccid", "virtio-net-pci"),
    ],
)
def test_what_is_carried(kind: str) -> None:
    assert find(kind) == []


@pytest.mark.parametrize("kind", ["ivshmem-plain", "ivshmem-doorbell"])
def test_shared_memory_travels_without_those_who_share_it(kind: str) -> None:
    (found,) = find(kind)
    assert (found.level, found.what) == (
        Level.WARNING,
        f"x ({kind} at pci:08.0) shares memory with other programs at the source, which stay there",
    )


def test_a_device_is_told_once_by_its_outer_part() -> None:
    outer = Device(f"{BRIDGE}/pci:08.0", "vhost-user-blk-pci")
    both = having(outer, Device(f"{outer.key}/virtio", "vhost-user-blk"))
    assert [one.name for one in keepers.find(both)] == ["pci:08.0"]
    assert next(keepers.find(both)).remedy.endswith("--allow-mismatch pci:08.0")


def test_a_tpm_of_the_host() -> None:
    """The backend tells: the device in front of it is the same as of an emulated one, whose state is in the stream."""
    tpm = Device("board/isa:0x0", "tpm-tis", "t0")
    (found,) = keepers.find(having(tpm, keepers=("passthrough",)))
    assert (found.level, found.name, found.what) == (Level.FAILURE, "tpm", f"the TPM {PASSED}")
    assert list(keepers.find(having(tpm, keepers=("emulator",)))) == []
    assert list(keepers.find(evolve(HERE, keepers=()))) == []
