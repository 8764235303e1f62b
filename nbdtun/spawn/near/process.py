"""The process behind a monitor (proc(5))."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from nbdtun.errors import NotMigratable

_PROC = Path("/proc")


@frozen
class Process:
    """
    A process: the path of its program, its words without the first, its directory and its user's name.

    ``files`` are the paths of its open files.
    """

    program: str
    words: tuple[str, ...]
    directory: str
    user: str
    files: tuple[str, ...] = ()


def read_process(pid: int, proc: Path = _PROC) -> Process:
    """
    Read the process with this id.

    :raise NotMigratable: it cannot be read.
    """
    at = proc / f"{pid}"
    try:
        words = os.fsdecode((at / "cmdline").read_bytes()).rstrip("\0").split("\0")
        program = os.readlink(at / "exe").removesuffix(" (deleted)")
        directory = os.readlink(at / "cwd")
        uid = (at).stat().st_uid
    except OSError as error:
        why = error.strerror or str(error)
        raise NotMigratable(
            f"the command line of QEMU, process {pid}, cannot be read: {why}", "run nbdtun as root or QEMU's user"
        ) from None
    return Process(program, tuple(words[1:]), directory, _user(uid), tuple(sorted(set(_files(at)))))


def _files(at: Path) -> Iterator[str]:
    with suppress(OSError):
        for link in (at / "fd").iterdir():
            with suppress(OSError):
                target = os.readlink(link)
                if target.startswith("/"):
                    yield target


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"{uid}"
