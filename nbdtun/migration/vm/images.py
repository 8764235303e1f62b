"""
The location of a disk's image, so that both ends can tell whether they have the same one: shared storage, one host, a bind mount. And the
sectors of the device that it is on, and the space in its file system.

A mirror onto its own source would destroy it. On one host a file is identified by device and inode, as QEMU sees it, which may have a mount
namespace of its own. On two hosts, a file on a filesystem that both may have mounted is identified by inode and size; an image that QEMU
reaches over the network, by its address. Two addresses may mean one image: so equal ones prove it, and different ones prove nothing.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from nbdtun.migration.capacity import Space, space_at

#: Of ``st_blocks``, in bytes (stat(2)).
BLOCK: Final = 512

_PROC, _SYS = Path("/proc"), Path("/sys")
_SHARED = frozenset({"nfs", "nfs4", "cifs", "ceph", "ocfs2", "gfs2", "fuse.glusterfs", "fuse.ceph", "lustre", "gpfs", "9p", "virtiofs"})
_NETWORK = ("rbd:", "nbd://", "nbds://", "iscsi://", "gluster://", "http://", "https://", "ssh://", "nfs://")


def image_of(file: str, pid: int, proc: Path = _PROC) -> str:
    """A digest of the location of the image ``file`` of the QEMU with this process id; empty if unknown."""
    if not file:
        return ""
    told = file if file.startswith(_NETWORK) else _image_of_file(file, pid, proc)
    return sha256(told.encode()).hexdigest()[:32] if told else ""


def _image_of_file(file: str, pid: int, proc: Path) -> str:
    try:
        found = _stat(file, pid, proc)
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        shared = _filesystem(found.st_dev, (proc / f"{pid}/mountinfo").read_text()) in _SHARED
    except (OSError, ValueError):
        return ""
    if stat.S_ISBLK(found.st_mode):
        return f"{boot} {found.st_rdev}"
    return f"{found.st_ino} {found.st_size}" if shared else f"{boot} {found.st_dev} {found.st_ino}"


def sector_of(file: str, pid: int, proc: Path = _PROC, sys: Path = _SYS) -> int:
    """The size in bytes of the sectors of the device that ``file`` is, or is on, as the QEMU with this process id sees it; 1 if unknown."""
    try:
        found = _stat(file, pid, proc)
    except (OSError, ValueError):
        return 1
    device = found.st_rdev if stat.S_ISBLK(found.st_mode) else found.st_dev
    where = sys / f"dev/block/{os.major(device)}:{os.minor(device)}"
    for queue in (where / "queue", where / "../queue"):  # a partition has its disk's
        try:
            return max(1, int((queue / "logical_block_size").read_text()))
        except (OSError, ValueError):
            continue
    return 1


def space_of(file: str, pid: int, needed: int, proc: Path = _PROC) -> Space | None:
    """
    The disk space for the image ``file`` of the QEMU with this process id, of which ``needed`` bytes are needed, less those that it has.

    None if it is no file that can be seen.
    """
    try:
        found = _stat(file, pid, proc)
        if file and stat.S_ISREG(found.st_mode):
            return space_at(f"{_seen(file, pid, proc).parent}", max(0, needed - found.st_blocks * BLOCK), os.path.dirname(file))
    except (OSError, ValueError):
        pass
    return None


def is_of_one_host(file: str, pid: int, proc: Path = _PROC) -> bool:
    """Whether ``file`` is a file in a file system that no other host has, as that process sees it; False if that cannot be told."""
    try:
        found = _stat(file, pid, proc)
        kind = _filesystem(found.st_dev, (proc / f"{pid}/mountinfo").read_text())
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and kind not in _SHARED and not kind.startswith("fuse") and kind != ""


def _seen(file: str, pid: int, proc: Path) -> Path:
    base = proc / f"{pid}/root" if file.startswith("/") else proc / f"{pid}/cwd"
    return base / file.lstrip("/")


def _stat(file: str, pid: int, proc: Path) -> os.stat_result:
    return os.stat(_seen(file, pid, proc))


def _filesystem(device: int, mounts: str) -> str:
    """The type of the filesystem with that number in ``/proc/PID/mountinfo``."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 6 and fields[2] == number:
            return fields[fields.index("-") + 1]
    return ""
