"""
Devices whose content neither a mirror nor the memory's stream copies. Rules without I/O.

QEMU facts. ``vhost-user-blk``, ``vhost-scsi`` and the like are disks of another process or of the kernel, which ``query-block`` does not
list. A file system's device has its files on the host: virtiofsd puts the guest's open files into the stream, but never their content; 9p
blocks a migration only while it is mounted. Devices that are passed through stay behind (VFIO, ``scsi-block``, ``scsi-generic``, USB of
the host, a TPM of the host; an emulated TPM's state is in the stream). An NVDIMM's content is memory, and travels as such: into the
destination's file, if that is shared. So does an ivshmem's, without its other users. So does a pflash's: the destination writes it to its
drive after arrival (``pflash_post_load``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nbdtun.migration.catalogue import CONTENT, SHARED
from nbdtun.migration.finding import Finding
from nbdtun.migration.vm.hardware.model import Hardware

_DISK = "is a disk outside QEMU's block layer, which cannot be copied"
_FILES = "gives the guest access to files of the host, which are not copied"
_PASSED = "is passed through from the host, and its content stays there"
#: By the beginning of a device's type; the first that fits.
_KINDS = (
    (r"vhost-user-(blk|scsi)|vhost-scsi|vhost-vdpa", _DISK),
    (r"vhost-user-fs|virtio-9p|usb-mtp", _FILES),
    (r"vfio-|scsi-block|scsi-generic|usb-host|usb-redir|ccid-card-passthru|u2f-passthru|x-vfio", _PASSED),
    (r"virtio-pmem", "is memory backed by a file, which is not copied"),
)
_REMEDY = "unplug it first; or give the destination access to the same content, and use --allow-mismatch {}"


def find(there: Hardware) -> Iterator[Finding]:
    """The devices at the source whose content would stay behind; each once, by its outer part."""
    for device in there.devices:
        why = next((why for kind, why in _KINDS if re.match(kind, device.kind)), "")
        if why and not device.key.endswith("/virtio"):
            yield CONTENT(f"{device} {why}", _REMEDY.format(device.name), name=device.name)
        if device.kind.startswith("ivshmem"):
            yield SHARED(f"{device} shares memory with other programs at the source, which stay there", name=device.name)
    if "passthrough" in there.keepers:
        yield CONTENT(f"the TPM {_PASSED}", _REMEDY.format("tpm"), name="tpm")
