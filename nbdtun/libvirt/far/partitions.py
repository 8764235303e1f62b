"""
Partitions that libvirt cannot remove: 9.0 takes ``p3`` for the number of ``nvme0n1p3``, as of each disk whose name ends with a digit.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from nbdtun.errors import LibvirtError

#: Seconds for parted, which waits for the kernel.
SECONDS: Final = 60.0
#: Where the kernel tells the number of a partition, and the disk that it is on.
_KNOWN: Final = Path("/sys/class/block")


def remove(path: str) -> None:
    """
    Remove the partition ``path``, as libvirt would, with parted.

    :raise LibvirtError: it cannot be removed.
    """
    known = _KNOWN / os.path.basename(os.path.realpath(path))
    try:
        number = (known / "partition").read_text().strip()
        words = ["parted", "--script", f"/dev/{known.resolve().parent.name}", "rm", number]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LibvirtError(f"{path}: the partition cannot be removed: {error}") from None
    if done.returncode:
        raise LibvirtError(f"{path}: the partition cannot be removed: {' '.join(done.stderr.split())}")
