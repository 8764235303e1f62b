"""The sizes, owners and digests of the files that a plan names, as they are at the source."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from attrs import evolve

from nbdtun.migration.catalogue import UNPLANNED
from nbdtun.migration.finding import Finding
from nbdtun.spawn.content import digest
from nbdtun.spawn.values import COMPARED, Image, Path, Plan, Role

T = TypeVar("T")


def measured(plan: Plan) -> Plan:
    """Return the plan with what its files are like; this reads them whole. What cannot be read is a finding."""
    findings = list(plan.findings)
    images = [_or_finding(findings, f"disk {each.node}", partial(_image, each), each) for each in plan.images]
    paths = [_or_finding(findings, each.where, partial(_path, each), each) for each in plan.paths]
    return evolve(plan, images=tuple(images), paths=tuple(paths), findings=tuple(findings))


def _or_finding(findings: list[Finding], where: str, work: Callable[[], T], otherwise: T) -> T:
    try:
        return work()
    except OSError as error:
        remedy = "run nbdtun as root or as QEMU's user"
        findings.append(UNPLANNED(f"{where}: {error.filename or 'its file'} cannot be read: {error.strerror}", remedy))
        return otherwise


def _image(image: Image) -> Image:
    if not image.origin:
        return evolve(image, device=image.path.startswith("/dev/"))
    found = os.stat(image.origin)
    is_device = stat.S_ISBLK(found.st_mode)
    return evolve(
        image,
        device=image.path.startswith("/dev/"),
        owner="" if is_device else user_name(found.st_uid),
        group="" if is_device else group_name(found.st_gid),
        mode=stat.S_IMODE(found.st_mode) & 0o666,
    )


def _path(path: Path) -> Path:
    if path.role is Role.MEMORY and not os.path.isdir(path.origin):
        return evolve(path, role=Role.RAM)
    if path.role not in COMPARED:
        return path
    with open(path.origin, "rb") as file:
        size = file.seek(0, os.SEEK_END)  # of a block device too
    return evolve(path, size=size, digest=digest(path.origin))


def user_name(uid: int) -> str:
    """The name of a user, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"{uid}"


def group_name(gid: int) -> str:
    """The name of a group, or its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"{gid}"
