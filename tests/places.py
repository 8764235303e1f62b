"""
nbdtun's own directories, which are a whole machine's: each process of the tests has others in their place, and so has all that it starts.

For root they are hidden below empty file systems, in a mount namespace of this process (mount_namespaces(7)). Other users' are where
their environment says. So a test leaves nothing on the machine, and finds nothing that another one has left.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lab.systemd import INSIDE

#: Root's, and their modes.
OF_ROOT: Final = {Path("/run/nbdtun"): 0o711, Path("/var/lib/nbdtun"): 0o700}
#: Where another user's are.
OF_OTHERS: Final = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")

_CLONE_NEWNS, _MS_REC, _MS_SLAVE = 0x20000, 0x4000, 0x80000


def part() -> None:
    """
    Part with the machine's directories. A host of `lab.systemd` has its own, which its units use, too.

    :raise OSError: the kernel does not let root do so, as in a container.
    """
    if INSIDE:
        return
    if os.geteuid() == 0:
        _hide()
        return
    own = tempfile.mkdtemp(prefix="nt-own-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    os.environ.update(dict.fromkeys(OF_OTHERS, own))


def _hide() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments):
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    call("unshare", _CLONE_NEWNS)
    call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)  # what is mounted here is not mounted on the machine
    for path, mode in OF_ROOT.items():
        path.mkdir(mode, exist_ok=True)
        call("mount", b"nbdtun-tests", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), f"mode={mode:o}".encode())


def places() -> list[Path]:
    """The directories that this process has instead; none if it has not parted with the machine's."""
    if INSIDE:
        return []
    if os.geteuid() == 0:
        return [path for path in OF_ROOT if path.is_mount()]
    return [Path(os.environ[name], "nbdtun") for name in OF_OTHERS]


def left() -> Iterator[str]:
    """Remove all that a test has left there; yields the files."""
    for place in places():
        for path in sorted(place.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
                yield f"{path}"
