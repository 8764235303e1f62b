"""
nbdtun's own directories, which are a whole machine's: each process of the tests has others in their place, and so has all that it starts.

For root they are hidden below empty file systems, in a mount namespace of this process (mount_namespaces(7)). Other users' are where
their environment says. So a test leaves nothing on the machine, and finds nothing that another one has left.

The kernel drops a mount whose mount point is removed in another namespace. An nbdtun that runs on the machine removes its directory when
that is empty. So there is a file in it for as long as the tests run.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from lab.systemd import INSIDE

#: Root's, and their modes.
OF_ROOT: Final = {Path("/run/nbdtun"): 0o711, Path("/var/lib/nbdtun"): 0o700}
#: Where another user's are.
OF_OTHERS: Final = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")

_CLONE_NEWNS, _MS_REC, _MS_SLAVE, _MNT_DETACH = 0x20000, 0x4000, 0x80000, 2
_ATTEMPTS: Final = 20

#: What :func:`rejoin` undoes: the machine's own directories that are hidden, as open files; and another user's.
_hidden: Final[dict[Path, int]] = {}
_own: Final[list[str]] = []


def part() -> None:
    """
    Part with the machine's directories. A host of `lab.systemd` has its own, which its units use, too.

    :raise OSError: the kernel does not let root do so, as in a container.
    """
    if INSIDE:
        return
    if os.geteuid() == 0:
        _call("unshare", _CLONE_NEWNS)
        _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)  # what is mounted here stays here
        for path, mode in OF_ROOT.items():
            _hide(path, mode)
    else:
        _own.append(tempfile.mkdtemp(prefix="nt-own-"))
        os.environ.update(dict.fromkeys(OF_OTHERS, _own[0]))


def rejoin() -> None:
    """Leave nothing in them on the machine, at the end of the tests."""
    for path, machine in _hidden.items():
        _call("umount2", os.fsencode(path), _MNT_DETACH)
        os.unlink(_mark(), dir_fd=machine)
        os.close(machine)
    _hidden.clear()
    for own in _own:
        shutil.rmtree(own, ignore_errors=True)


def _hide(path: Path, mode: int) -> None:
    for attempt in range(_ATTEMPTS):  # another process may remove it in between
        with suppress(FileNotFoundError):
            path.mkdir(mode, exist_ok=True)
            machine = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            os.close(os.open(_mark(), os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=machine))
            break
        assert attempt < _ATTEMPTS - 1, f"{path} goes as often as it comes"
    _call("mount", b"nbdtun-tests", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), f"mode={mode:o}".encode())
    _hidden[path] = machine


def _mark() -> str:
    return f".tests-{os.getpid()}"


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def places() -> list[Path]:
    """The directories that this process has instead; none if it has not parted with the machine's."""
    return [Path(os.environ[name], "nbdtun") for name in OF_OTHERS] if _own else [*_hidden]


def left() -> Iterator[str]:
    """Remove all that a test has left there; yields the files."""
    for place in places():
        for path in sorted(place.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
                yield f"{path}"
