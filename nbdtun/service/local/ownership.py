"""
Strangers: who else could put a directory of his own in the place of one of ours, and have QEMU connect to his sockets in it.

Whoever owns a directory, or may write to it where it is not sticky, can rename what is in it (rename(2)); and whoever owns a symbolic link
can let it lead elsewhere. ``/tmp`` is full of both. An access control list can let users and groups write, too (acl(5)); the mode's bits
for the group are then the most that any of them may do, and who they are is in an extended attribute: a version, then a tag, a permission
and an id for each (the kernel's include/uapi/linux/posix_acl_xattr.h).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.ownership.way import known

_ACL, _ACL_HEAD, _ACL_ENTRY = "system.posix_acl_access", struct.Struct("<I"), struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_WRITE = 0x02, 0x04, 0x08, 2


def check(directory: Path, trusted: Collection[int] = ()) -> None:
    """
    See that on the way to ``directory``, as far as there is one yet, nobody but root, this user and the uids that are ``trusted`` decides.

    :raise ConfigError: somebody else does.
    """
    for path in _way(directory):
        try:
            found = path.lstat()
        except OSError:
            continue  # not there yet, or not to be seen: whoever uses it will be told
        if trouble := _trouble(path, found, known() | set(trusted)):
            raise ConfigError(f"run directory {directory}: {trouble}")


def _trouble(path: Path, found: os.stat_result, trusted: Collection[int]) -> str:
    """Who else decides about what is at ``path``; empty if nobody does."""
    if found.st_uid not in trusted:
        return f"{path} belongs to uid {found.st_uid}, who could replace what is in it"
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return f"everybody may replace what is in {path} (it is not sticky)"
    if found.st_mode & stat.S_IWGRP:
        users, groups = _writers(path, found.st_gid)
        for uid in users - set(trusted):
            return f"uid {uid} may replace what is in {path} (by its access control list)"
        for gid in groups - {0, _own_group()}:
            return f"the group {gid} may replace what is in {path} (it is not sticky)"
    return ""


def _writers(path: Path, gid: int) -> tuple[set[int], set[int]]:
    """The users and groups that may write to a directory whose mode lets its group ``gid`` do so."""
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
    """The group that is this user's alone, of which systems with a umask of 002 make use; root's if there is none."""
    try:
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return 0
    return group.gr_gid if group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name} else 0


def _way(directory: Path) -> Iterator[Path]:
    """All directories and links on the way, those behind links too."""
    for end in dict.fromkeys((directory, Path(os.path.realpath(directory)))):
        yield from (end, *end.parents)
