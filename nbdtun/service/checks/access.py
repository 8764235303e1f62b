"""
Whether QEMU will be able to use the sockets that nbdtun makes for it, found out without making any.

QEMU's user needs search permission on every directory of the path; nbdtun can grant it for the last one only. A process with
CAP_DAC_OVERRIDE, as root has it, may enter all. A security module's decisions cannot be predicted from outside: where one confines QEMU,
a warning says so. The kernel names it in ``/proc/PID/attr/current``: ``unconfined`` or ``PROFILE (MODE)`` by
AppArmor, and ``USER:ROLE:TYPE:LEVEL`` by SELinux.

A QEMU in a container, or with ``-chroot``, may have another directory at the same path, or none. ``/proc/PID/root`` leads to what it has
(proc(5)), for those who may trace it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from nbdtun.config import Owner
from nbdtun.errors import ConfigError, NbdtunError, NotMigratable
from nbdtun.migration.catalogue import Kind
from nbdtun.migration.check.checklist import Checklist
from nbdtun.ownership.reach import Credentials
from nbdtun.service.local.rundir import RunDir

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_PROC = Path("/proc")
_ANOTHER = "choose another with --run-dir"


@frozen
class User:
    """The user that QEMU runs as: ``groups`` has all of its groups; ``almighty`` means that it can override modes."""

    uid: int
    groups: frozenset[int]
    almighty: bool

    @classmethod
    def of(cls, qemu: Credentials, proc: Path) -> User:
        """The user of a process; where /proc does not say, the usual is assumed."""
        fields = _status(proc / f"{qemu.pid}/status")
        capabilities = int(fields.get("CapEff", "6" if qemu.uid == 0 else "0"), 16)
        groups = frozenset(int(word) for word in fields.get("Groups", "").split())
        return cls(qemu.uid, groups | {qemu.gid}, bool(capabilities & (1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH)))

    def enters(self, directory: os.stat_result) -> bool:
        """Whether it may search a directory."""
        if self.almighty:
            return True
        if directory.st_uid == self.uid:
            return bool(directory.st_mode & stat.S_IXUSR)
        return bool(directory.st_mode & (stat.S_IXGRP if directory.st_gid in self.groups else stat.S_IXOTH))


def check_own_access(checklist: Checklist, kind: Kind, rundir: RunDir) -> bool:
    """Note, by ``kind``, if this process itself could not make its sockets in ``rundir``; returns whether it could."""
    with checklist.collecting(kind):
        rundir.check()
        existing = _existing(rundir)
        what = f"run directory {rundir.base}" + (f": {existing}" if existing != rundir.base else "")
        if not existing.is_dir():
            raise ConfigError(f"{what} is not a directory", _ANOTHER)
        if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
            raise ConfigError(f"{what} cannot be written to", _ANOTHER)
        return True
    return False


def check_access(checklist: Checklist, kinds: tuple[Kind, Kind], rundir: RunDir, qemu: Credentials) -> None:
    """Note, by ``kinds``, whether this process could make its sockets in ``rundir``, and the QEMU of these credentials use them."""
    if check_own_access(checklist, kinds[0], rundir):
        check_access_of(checklist, kinds, rundir, qemu)


def check_access_of(checklist: Checklist, kinds: tuple[Kind, Kind], rundir: RunDir, qemu: Credentials) -> None:
    """Note, by ``kinds``, whether the QEMU of these credentials could use sockets in ``rundir``, if this process can make them."""
    user = User.of(qemu, _PROC)
    with checklist.collecting(kinds[0]):
        for trouble in _troubles(rundir, qemu, user):
            raise trouble
        checklist.ok(kinds[0].check, f"{rundir.base}: QEMU (uid {qemu.uid}) can use sockets there")
    confined = confinement(_read(_PROC / f"{qemu.pid}/attr/current"))
    if confined:
        remedy = f"let its policy allow sockets below {rundir.base}, or choose another with --run-dir"
        checklist.add(kinds[1](f"QEMU is confined by {confined}", remedy))


def _existing(rundir: RunDir) -> Path:
    """The part of its path that is there already, as far as this user may see."""
    return next(path for path in (rundir.base, *rundir.base.parents) if os.path.exists(path))


def _troubles(rundir: RunDir, qemu: Credentials, user: User) -> Iterator[NbdtunError]:
    with_dir, existing = f"run directory {rundir.base}", _existing(rundir)
    if not _sees(qemu.pid, existing):
        yield NotMigratable(
            f"{with_dir}: QEMU (pid {qemu.pid}) has another {existing} than this host, or none; it is in a container, or has -chroot",
            "choose with --run-dir a directory that is the same inside and outside",
        )
    owner = rundir.owner_for(qemu) or Owner(os.geteuid())
    if owner.uid != user.uid and not user.almighty:
        yield ConfigError(
            f"{with_dir}: it would belong to uid {owner.uid}, but QEMU runs as uid {user.uid}",
            "run nbdtun as root or as QEMU's user, or give --socket-owner",
        )
    for path in (existing, *existing.parents):
        if not user.enters(path.stat()):
            yield ConfigError(
                f"{with_dir}: QEMU (uid {user.uid}) may not enter {path} (mode {path.stat().st_mode & 0o7777:o})",
                f"chmod o+x {path}, or choose another with --run-dir",
            )


def _sees(pid: int, directory: Path) -> bool:
    """Whether the process finds the same directory at that path, as far as /proc tells."""
    seen = _PROC / f"{pid}/root"
    try:
        (seen / ".").stat()  # where this is refused, so is all below it
        there, here = (seen / os.path.realpath(directory)[1:]).stat(), directory.stat()
    except FileNotFoundError:
        return not seen.is_dir()
    except OSError:
        return True
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def confinement(attribute: str) -> str:
    """The security module that confines the process with this ``/proc/PID/attr/current``; empty if none does."""
    label = attribute.strip().strip("\0")
    if label.count(":") >= 2:
        return "" if label.split(":")[2].startswith("unconfined") else f"SELinux ({label})"
    profile, _, mode = label.partition(" ")
    return f"AppArmor (profile {profile})" if mode == "(enforce)" else ""


def _status(path: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in _read(path).splitlines())
    return {name: value.strip() for name, _, value in lines}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
