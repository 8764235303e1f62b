"""
What is to move: the domain at the source's libvirt, and what its images are like.

It runs in a connection's thread. Only what libvirt does not tell of images outside of its pools is read from the file system.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from attrs import evolve, frozen

from nbdtun.errors import ConfigError, NotMigratable
from nbdtun.libvirt import domain
from nbdtun.libvirt.domain import Disk, Domain
from nbdtun.libvirt.near.order import Xml
from nbdtun.libvirt.values import Image, Wanted
from nbdtun.migration.vm.images import is_of_one_host
from nbdtun.spawn.near.measure import group_name, user_name
from nbdtun.spawn.rewrite.answers import Answers

#: virDomainState: those of a domain whose guest can move, and of one that is off.
RUNNING, BLOCKED, PAUSED, OFF = 1, 2, 3, 5
#: virDomainPausedReason: libvirt itself has paused it, for its memory's last part.
FOR_MIGRATION: Final = 2

#: The head of a qcow2 image, up to its incompatible features (QEMU's docs/interop/qcow2.txt).
_QCOW2: Final = struct.Struct(">4sIQIIQIIQQIIQQ")
_VERSION, _CLUSTER_BITS, _INCOMPATIBLE = 1, 4, 13
_EXTENDED_L2: Final = 1 << 4

#: Bytes that stat(2) counts in.
_BLOCK: Final = 512


@frozen
class Survey:
    """
    A domain that is to move. ``xml`` is how it is to be at the destination, ``persistent`` the same of its persistent definition, empty
    for a transient one. ``memory`` is in bytes. ``runs`` is whether its guest does.

    ``stands``: libvirt has paused it for a migration. ``snapshots`` and ``checkpoints`` count what libvirt refuses to move. ``origins`` are
    the paths of the images here, as in ``images``. ``alone`` are disks that are not copied, by their names, though no other host has them.
    """

    domain: Domain
    xml: str
    images: tuple[Image, ...]
    origins: tuple[str, ...] = ()
    persistent: str = ""
    memory: int = 0
    runs: bool = True
    stands: bool = False
    autostart: bool = False
    nvram: int = 0
    host: str = ""
    hostname: str = ""
    snapshots: int = 0
    checkpoints: int = 0
    alone: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The disks to copy, by their names in the domain."""
        return tuple(image.target for image in self.images)

    def wanted(self, images: tuple[Image, ...], *, overwrite: bool) -> Wanted:
        """What the far end is told of it; ``images`` are its images, which can be known again by now."""
        told = self.domain
        return Wanted(
            name=told.name,
            uuid=told.uuid,
            xml=self.xml,
            images=images,
            persistent=self.persistent,
            nvram=self.nvram,
            host=self.host,
            hostname=self.hostname,
            overwrite=overwrite,
            autostart=self.autostart,
        )


def survey(connection: Any, vm: str, answers: Answers, chosen: tuple[str, ...] | None = None, dest_xml: str = "") -> Survey:
    """
    Read the domain ``vm`` over libvirt's ``connection``, as it is to be where ``answers`` map it; or as ``dest_xml`` has it, if given.

    ``chosen`` are the disks to copy, None for all that libvirt would.

    :raise NotMigratable: it is not running.
    :raise ConfigError: a chosen disk is none that can be copied, or a map fits nothing.
    """
    found = connection.lookupByName(vm)
    state, reason = found.state()
    if state not in (RUNNING, BLOCKED, PAUSED):
        raise NotMigratable(f"{vm} does not run at the source", "`virsh start` starts it")
    here = domain.read(found.XMLDesc(0))
    disks = _chosen(here.copied, chosen, vm)
    xml, persistent = _elsewhere(found, answers, dest_xml, [disk.target for disk in disks])
    there = {disk.target: disk for disk in domain.read(xml).disks}
    origins = tuple(disk.path or _path_of_volume(connection, disk) for disk in disks)
    return Survey(
        domain=here,
        xml=xml,
        images=tuple(_image(found, disk, there.get(disk.target, disk), origin) for disk, origin in zip(disks, origins, strict=True)),
        origins=origins,
        persistent=persistent,
        memory=found.info()[1] * 1024,
        runs=state != PAUSED,
        stands=(state, reason) == (PAUSED, FOR_MIGRATION),
        autostart=bool(persistent and found.autostart()),
        nvram=_size(here.nvram),
        host=domain.host_uuid(connection.getCapabilities()),
        hostname=connection.getHostname(),
        snapshots=found.snapshotNum(),
        checkpoints=len(found.listAllCheckpoints()),
        alone=tuple(disk.target for disk in here.disks if disk not in disks and _is_alone(disk)),
    )


def _is_alone(disk: Disk) -> bool:
    """As libvirt sees it (qemuMigrationSrcIsSafe): only a file counts, and one that is written to."""
    return disk.kind == "file" and not disk.read_only and is_of_one_host(disk.path, os.getpid())


def _elsewhere(found: Any, answers: Answers, dest_xml: str, copied: list[str]) -> tuple[str, str]:
    """The XML at the destination, of the running domain and of the persistent one, which is empty for a transient one."""
    own = found.XMLDesc(Xml.MIGRATABLE | Xml.SECURE)
    for odd in domain.unused(own, answers):
        raise ConfigError(f"--map {odd}: the domain {found.name()} names nothing that it fits")
    lasting = found.XMLDesc(Xml.MIGRATABLE | Xml.SECURE | Xml.INACTIVE) if found.isPersistent() else ""
    xml, persistent = (domain.flattened(dest_xml or domain.rewrite(text, answers), copied) if text else "" for text in (own, lasting))
    return xml, persistent


def _chosen(copied: Iterable[Disk], chosen: tuple[str, ...] | None, vm: str) -> tuple[Disk, ...]:
    disks = tuple(copied)
    for name in chosen or ():
        if name not in (disk.target for disk in disks):
            known = ", ".join(disk.target for disk in disks) or "none"
            raise ConfigError(f"--disk {name}: the domain {vm} has no such disk that is copied", f"it has {known}")
    return disks if chosen is None else tuple(disk for disk in disks if disk.target in chosen)


def _path_of_volume(connection: Any, disk: Disk) -> str:
    path: str = connection.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.volume).path()
    return path


def _image(found: Any, disk: Disk, there: Disk, origin: str) -> Image:
    """The image of one ``disk`` as it is to be ``there``; its ``origin`` is the one at the source."""
    capacity, allocation, _ = found.blockInfo(there.target)
    image = Image(there.target, there.path, there.format, capacity, allocation, pool=there.pool, volume=there.volume)
    image = described(image, origin)
    return evolve(image, allocation=image.allocation + sum(map(_taken, disk.backing)))


def described(image: Image, origin: str) -> Image:
    """
    The image with what its file ``origin`` tells, as far as it can be read: owner, mode, the form of a qcow2 image, and what it takes.

    Of a domain that runs, libvirt's own allocation is the highest offset that QEMU has written to since it was started.
    """
    try:
        seen = os.stat(origin)
    except OSError:
        return image
    if stat.S_ISBLK(seen.st_mode):
        image = evolve(image, device=True, allocation=image.capacity if image.format == "raw" else image.allocation)
    else:
        owner, group = user_name(seen.st_uid), group_name(seen.st_gid)
        image = evolve(image, owner=owner, group=group, mode=stat.S_IMODE(seen.st_mode) & 0o666, allocation=seen.st_blocks * _BLOCK)
    if image.format == "qcow2":
        with suppress(OSError), open(origin, "rb") as file:
            return _formed(image, file.read(_QCOW2.size))
    return image


def _taken(path: str) -> int:
    """The bytes that a file takes, as far as that can be seen."""
    with suppress(OSError):
        return os.stat(path).st_blocks * _BLOCK
    return 0


def _formed(image: Image, head: bytes) -> Image:
    if len(head) < _QCOW2.size or not head.startswith(b"QFI\xfb"):
        return image
    told = _QCOW2.unpack(head)
    cluster = 1 << min(told[_CLUSTER_BITS], 30)
    if told[_VERSION] < 3:
        return evolve(image, compat="0.10", cluster=cluster)
    return evolve(image, compat="1.1", cluster=cluster, extended_l2=bool(told[_INCOMPATIBLE] & _EXTENDED_L2))


def _size(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_size if path else 0
    return 0
