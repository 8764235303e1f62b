"""The other paths of a plan, at the far end: those that QEMU reads, and those that it makes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from nbdtun.migration.catalogue import LACKING, OCCUPIED
from nbdtun.migration.finding import Finding
from nbdtun.spawn.content import digest
from nbdtun.spawn.far.host import AS_ROOT, is_listened
from nbdtun.spawn.values import Path, Role
from nbdtun.units import size_text

_OVERWRITTEN = frozenset({Role.LOG, Role.PIDFILE, Role.RAM})


def judge(path: Path, overwrite: bool) -> Iterator[Finding]:
    """Yield what is wrong with one of them."""
    name = f"{path.where}: {path.path}"
    try:
        if path.role is Role.SERVED:
            if not is_listened(path.path):
                yield LACKING(f"{name} has no server", "start it there first, or name another with --map")
        elif path.role is Role.SOCKET:
            if is_listened(path.path):
                yield OCCUPIED(f"{name}: another process listens there")
            elif os.path.lexists(path.path) and not stat.S_ISSOCK(os.lstat(path.path).st_mode):
                yield OCCUPIED(f"{name} is there already, is no socket, and QEMU would remove it", "name another with --map")
        elif path.role in _OVERWRITTEN:
            yield from _judge_overwritten(path, overwrite, name)
        elif path.role is not Role.APPENDED:
            yield from _judge_read(path, name)
    except OSError as error:
        yield LACKING(f"{name} cannot be used: {error.strerror}")


def _judge_overwritten(path: Path, overwrite: bool, name: str) -> Iterator[Finding]:
    """QEMU begins these anew; a pidfile of a process that has ended is in nobody's way."""
    if not os.path.lexists(path.path) or overwrite:
        return
    if path.role is Role.PIDFILE and not _is_alive(path.path):
        return
    if os.path.getsize(path.path):
        yield OCCUPIED(f"{name} is there already, and QEMU would overwrite it")


def _is_alive(pidfile: str) -> bool:
    with open(pidfile, encoding="utf-8", errors="replace") as file:
        text = file.read(32).strip()
    return not text.isdigit() or os.path.exists(f"/proc/{text}")


def _judge_read(path: Path, name: str) -> Iterator[Finding]:
    if not os.path.exists(path.path):
        yield LACKING(f"{name} is not there")
    elif path.role in (Role.DIRECTORY, Role.MEMORY):
        if not os.path.isdir(path.path):
            yield LACKING(f"{name} is no directory")
    elif not os.access(path.path, os.R_OK | (os.W_OK if path.role is Role.ACCESS else 0)):
        yield LACKING(f"{name} may not be used by this user", AS_ROOT)
    elif path.digest:
        with open(path.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
        if size != path.size:
            yield LACKING(f"{name} has {size_text(size)}, and {size_text(path.size)} at the source", "copy it there")
        elif digest(path.path) != path.digest:
            yield LACKING(f"{name} has another content than at the source", "copy it there")
