"""
Other users who could replace one of our directories by one of their own, and have QEMU connect to their sockets in it.

The owner of a directory, and anybody who may write to it if it is not sticky, can rename its entries (rename(2)). The owner of a symbolic
link can make it lead elsewhere. ``/tmp`` is full of both. An access control list can let users and groups write too (acl(5)); the mode's
bits for the group are then the most that any of them may do. The list is in an extended attribute: a version, then a tag, a permission
and an id for each entry (the kernel's include/uapi/linux/posix_acl_xattr.h).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.ownership.way import MOST_LINKS, known

_ACL, _ACL_HEAD, _ACL_ENTRY = "system.posix_acl_access", struct.Struct("<I"), struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_WRITE = 0x02, 0x04, 0x08, 2


def check(directory: Path, trusted: Collection[int] = ()) -> None:
    """
    Check that only root, this user and the ``trusted`` uids control the path to ``directory``, as far as it exists yet.

    :raise ConfigError: another user does too.
    """
    for path in _way(directory):
        try:
            found = path.lstat()
        except OSError:
            continue  # it does not exist yet, or cannot be read: using it will fail with the reason
        if trouble := _trouble(path, found, known() | set(trusted)):
            raise ConfigError(f"run directory {directory}: {trouble}")


def _trouble(path: Path, found: os.stat_result, trusted: Collection[int]) -> str:
    """The other user who controls ``path``, as a text; empty if there is none."""
    if found.st_uid not in trusted:
        return f"{path} belongs to uid {found.st_uid}, which could replace its entries"
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return f"any user could replace the entries of {path} (it is not sticky)"
    if found.st_mode & stat.S_IWGRP:
        users, groups = _writers(path, found.st_gid)
        for uid in users - set(trusted):
            return f"uid {uid} could replace the entries of {path} (by its access control list)"
        for gid in groups - {0, _own_group()}:
            return f"group {gid} could replace the entries of {path} (it is not sticky)"
    return ""


def _writers(path: Path, gid: int) -> tuple[set[int], set[int]]:
    """The users and groups that may write to a directory that its group ``gid`` may write to by its mode."""
    try:
        attribute = os.getxattr(path, _ACL, follow_symlinks=False)
    except OSError:
        return set(), {gid}
    users, groups = set(), set()
    for tag, permission, ident in _ACL_ENTRY.iter_unpack(attribute[_ACL_HEAD.size :]):
        if permission & _ACL_WRITE and tag == _ACL_USER:
            users.add(ident)
        elif permission & _ACL_WRITE and tag in (_ACL_GROUP, _ACL_GROUP_OBJ):
            groups.add(ident if tag == _ACL_GROUP else gid)
    return users, groups


def _own_group() -> int:
    """The group that is this user's alone, as on systems with a umask of 002; root's if there is none."""
    try:
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return 0
    return group.gr_gid if group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name} else 0


def _way(directory: Path) -> Iterator[Path]:
    """All directories and links that the kernel passes on its way there (path_resolution(7)), those that a link leads through too."""
    here, left, links = Path("/"), deque(directory.absolute().parts[1:]), 0
    yield here
    while left and links <= MOST_LINKS:
        name = left.popleft()
        if name == "..":
            here = here.parent
            continue
        yield here / name
        try:
            target = Path(os.readlink(here / name))
        except OSError:  # no link
            here /= name
            continue
        links += 1
        here = Path("/") if target.is_absolute() else here
        left.extendleft(reversed([part for part in target.parts if part != "/"]))
