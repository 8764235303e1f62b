"""Files and block devices as both hosts can compare them: by their content, or by what the kernel calls them."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

_SYS = Path("/sys/dev/block")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def digest(path: str) -> str:
    """
    The SHA-256 of a file's content; this may take long.

    :raise OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def identity(device: int, sys: Path = _SYS, boot: Path = _BOOT) -> str:
    """What two hosts that see the same block device both call it, or else what this host alone calls it."""
    at = sys / f"{os.major(device)}:{os.minor(device)}"
    part = _told(at / "partition")
    disk = at.resolve().parent if part else at  # a partition has no name of its own, and its disk has
    for name in ("dm/uuid", "wwid", "device/wwid"):
        if told := _told(disk / name):
            return f"{name} {told} {part}".rstrip()
    return f"{boot.read_text().strip()} {device}"


def _told(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""
